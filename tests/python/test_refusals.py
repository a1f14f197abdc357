"""What a call refuses because it could only go wrong silently: tensors that begin where another one does
that is written, and RoPE without cosines. Nothing is written by a call that is refused."""

import numpy as np
import pagoda
import pytest

import problems

torch = pytest.importorskip("torch")

FLOAT32 = np.dtype(np.float32)


def refused(call, name, other):
    """`call` names the written argument and the one whose memory it shares."""
    return pytest.raises(ValueError, match=rf"pagoda\.{call}: {name}: got data 0x[0-9a-f]+, which is that "
                                           rf"of {other}, wants memory of its own, since it is written")


def as_framework(framework, tensors):
    """Of the same memory, so that what shares memory goes on sharing it."""
    return problems.to_torch(tensors) if framework == "torch" else tensors


def unchanged(tensors):
    """A function that asserts that nothing was written into `tensors`."""
    before = {name: problems.to_numpy(value).tobytes() for name, value in tensors.items()}

    def check():
        assert {name: problems.to_numpy(value).tobytes() for name, value in tensors.items()} == before

    return check


@pytest.fixture(params=["numpy", "torch"])
def framework(request):
    return request.param


@pytest.fixture
def step(framework):
    """A step whose q, pages and lse have room for each other."""
    return as_framework(framework, problems.make(31, [(2, 20), (1, 9)], dtype=FLOAT32))


def test_out_apart_from_what_is_read(step):
    same = unchanged(step)
    for name in ("q", "k_pages", "v_pages"):
        first = step[name].reshape(-1)[:3 * 4 * 16].reshape(3, 4, 16)
        with refused("attention", "out", name):
            pagoda.attention(**step, out=first)
    same()


def test_lse_apart_from_out_and_what_is_read(step, framework):
    out = as_framework(framework, {"out": np.full((3, 4, 16), 7, np.float32)})["out"]
    step["out"] = out
    same = unchanged(step)
    for name in ("out", "q", "k_pages"):
        lse = step[name].reshape(-1)[:4 * 3].reshape(4, 3)
        with refused("attention", "lse", name):
            pagoda.attention(**step, lse=lse)
    same()


def test_a_planned_call_and_unified_attention_refuse_it_too(step):
    plan = pagoda.plan(**step)
    same = unchanged(step)
    with refused("attention", "out", "q"):
        pagoda.attention(**step, plan=plan, out=step["q"])
    with refused("unified_attention", "out", "q"):
        pagoda.unified_attention(
            step["q"], step["k_pages"], step["v_pages"], step["q"], step["cu_seqlens_q"], 2,
            step["seqused_k"], 20, 0.25, True, (-1, -1), step["block_table"], 0.0, None, None, None)
    same()


@pytest.fixture
def new_tokens(framework):
    """What write_kv_cache takes: five tokens for pages of ten."""
    rng = np.random.default_rng(32)
    names = {"k": (5, 2, 16), "v": (5, 2, 16), "k_pages": (2, 5, 2, 16), "v_pages": (2, 5, 2, 16)}
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in names.items()}
    return as_framework(framework, tensors | {"slot_mapping": np.arange(5)})


@pytest.mark.parametrize("written, other", [
    ("v_pages", "k_pages"), ("k_pages", "k"), ("k_pages", "v"), ("v_pages", "k"), ("v_pages", "v")])
def test_pages_apart_from_each_other_and_from_new_rows(new_tokens, written, other):
    shared = new_tokens[written]
    new_tokens[other] = shared if other.endswith("pages") else shared.reshape(10, 2, 16)[:5]
    same = unchanged(new_tokens)
    with refused("write_kv_cache", written, other):
        pagoda.write_kv_cache(**new_tokens)
    same()


def test_token_scales_apart(framework):
    tensors = as_framework(framework, {
        "k": np.ones((5, 2, 16), np.float32), "v": np.ones((5, 2, 16), np.float32),
        "k_pages": np.zeros((2, 5, 2, 16), np.int8), "v_pages": np.zeros((2, 5, 2, 16), np.int8),
        "slot_mapping": np.arange(5), "scale": np.zeros((2, 5, 2), np.float32)})
    scale = tensors.pop("scale")
    same = unchanged(tensors)
    with refused("write_kv_cache", "v_token_scale", "k_token_scale"):
        pagoda.write_kv_cache(**tensors, k_token_scale=scale, v_token_scale=scale)
    same()


def test_the_rotated_query_apart_from_new_rows(new_tokens, framework):
    rope = as_framework(framework, {"rope_cos_sin": np.ones((9, 16), np.float32),
                                    "rope_positions": np.arange(5)})
    same = unchanged(new_tokens)
    for other in "kv":
        with refused("write_kv_cache", "rope.q", other):
            pagoda.write_kv_cache(**new_tokens, **rope, rope_q=new_tokens[other])
    same()


def test_gathered_rows_apart(framework):
    problem = problems.make(33, [(1, 13), (1, 6)], dtype=FLOAT32)
    pages = as_framework(framework, {name: problem[name] for name in ("k_pages", "v_pages", "block_table")})
    rows = as_framework(framework, {"rows": np.zeros((19, 2, 16), np.float32),
                                    "starts": np.int32([0, 13, 19])})
    options = {"cu_seqlens_k": rows["starts"], "block_table": pages["block_table"]}
    same = unchanged(pages | rows)
    with refused("gather_kv_cache", "v_out", "k_out"):
        pagoda.gather_kv_cache(pages["k_pages"], pages["v_pages"], rows["rows"], rows["rows"], **options)
    for name in ("k_pages", "v_pages"):
        of_pages = pages[name].reshape(-1, 2, 16)[:19]
        with refused("gather_kv_cache", "k_out", name):
            pagoda.gather_kv_cache(pages["k_pages"], pages["v_pages"], of_pages, rows["rows"], **options)
    same()


def test_a_merged_state_apart_from_the_others(framework):
    rng = np.random.default_rng(34)
    names = {"a": (3, 4, 16), "b": (3, 4, 16), "a_lse": (4, 3), "b_lse": (4, 3)}
    tensors = as_framework(framework, {name: rng.standard_normal(shape).astype(np.float32)
                                       for name, shape in names.items()})
    states = [(tensors["a"], tensors["a_lse"]), (tensors["b"], tensors["b_lse"])]
    want, _ = pagoda.merge_states(states)
    same = unchanged(tensors)
    with refused("merge_states", "merged.lse", r"states\[1\]\.out"):
        pagoda.merge_states(states, lse=tensors["b"].reshape(-1)[:12].reshape(4, 3))
    same()
    pagoda.merge_states(states, out=tensors["b"], lse=tensors["b_lse"])  # into one of them it may
    assert np.array_equal(problems.to_numpy(tensors["b"]), problems.to_numpy(want))


@pytest.mark.parametrize("given", ["positions", "q", "interleaved"])
def test_rope_without_cosines(new_tokens, framework, given):
    rope = as_framework(framework, {"positions": np.arange(5), "q": np.ones((5, 4, 16), np.float32)})
    rope["interleaved"] = True
    same = unchanged(new_tokens)
    with pytest.raises(ValueError, match=rf"pagoda\.write_kv_cache: rope\.cos_sin: got none with "
                                         rf"rope\.{given}, wants float32, .* leave out the rest of rope"):
        pagoda.write_kv_cache(**new_tokens, **{f"rope_{given}": rope[given]})
    same()


@pytest.mark.parametrize("change, text", [
    ({"rope_cos_sin": np.ones((9, 7), np.float32)}, r"rope\.cos_sin: got rotary_dim=7, wants an even number"),
    ({"rope_cos_sin": np.ones((9, 18), np.float32)}, r"rope\.cos_sin: got rotary_dim=18"),
    ({"rope_positions": None}, r"rope\.positions: "),
    ({"rope_positions": np.arange(5, dtype=np.int32)}, r"rope\.positions: got dtype int32"),
    ({"rope_positions": np.arange(4)}, r"rope\.positions: got shape \[4\]"),
    ({"rope_positions": np.int64([0, 1, 2, 3, 9]), "checked": True}, r"rope\.positions"),
])
def test_rope_that_does_not_fit(new_tokens, framework, change, text):
    rope = {"rope_cos_sin": np.ones((9, 8), np.float32), "rope_positions": np.arange(5)} | change
    same = unchanged(new_tokens)
    with pytest.raises(ValueError, match=text):
        pagoda.write_kv_cache(**new_tokens, **as_framework(framework, rope))
    same()
