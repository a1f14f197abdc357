"""unified_attention: the seed's signature, and what newer versions of that kernel added."""

import inspect

import numpy as np
import pagoda
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import oracle
import problems
from problems import BF16, E4M3

torch = pytest.importorskip("torch")

SEED_SIGNATURE = ["q", "k", "v", "out", "cu_seqlens_q", "max_seqlen_q", "seqused_k", "max_seqlen_k",
                  "softmax_scale", "causal", "window_size", "block_table", "softcap", "q_descale",
                  "k_descale", "v_descale", "alibi_slopes"]


def call(problem, *, causal=True, window=(-1, -1), softcap=0.0, descales=(None, None, None), alibi=None,
         out=None, **newer):
    out = torch.full_like(problem["q"], float("nan")) if out is None else out
    result = pagoda.unified_attention(
        problem["q"], problem["k_pages"], problem["v_pages"], out, problem["cu_seqlens_q"], 9,
        problem["seqused_k"], 99, 0.25, causal, window, problem["block_table"], softcap, *descales,
        alibi, **newer)
    assert result is None
    return problems.to_numpy(out)


@pytest.fixture
def case(device):
    problem = problems.make(11, [(1, 30), (5, 40), (3, 3)], head_dim=64, page_size=16)
    problem["softmax_scale"] = 0.25
    return problem, problems.to_torch({n: v for n, v in problem.items() if n != "softmax_scale"}, device)


def test_signature():
    parameters = list(inspect.signature(pagoda.unified_attention).parameters.values())
    assert [p.name for p in parameters[:17]] == SEED_SIGNATURE
    assert all(p.default is inspect.Parameter.empty for p in parameters[:16])
    assert parameters[16].default is None


def test_as_the_seed_is_called(case):
    problem, tensors = case
    slopes = torch.rand(4).to(tensors["q"].device)
    ones = torch.ones(3, 2, device=slopes.device)  # given always, and of no account without fp8
    out = call(tensors, window=(7, 0), softcap=20.0, descales=(None, ones * 3, ones * 3), alibi=slopes)
    oracle.check({**problem, "window_left": 7, "logits_soft_cap": 20.0,
                  "alibi_slopes": slopes.cpu().numpy()}, out)


@pytest.mark.parametrize("newer, meaning", [
    ({"causal": False}, {"causal": False}),
    ({"causal": False, "window": (4, 4)}, {"causal": False, "window_left": 4, "window_right": 4}),
    ({"window": (11, 0), "chunk_lookback": 2}, {"chunk_size": 4, "chunk_lookback": 2}),
    ({"use_alibi_sqrt": True}, {}),
    ({"seq_threshold_3D": 8, "num_par_softmax_segments": 16, "use_td": True}, {}),
])
def test_newer_scalars(case, newer, meaning):
    problem, tensors = case
    oracle.check({**problem, **meaning}, call(tensors, **newer))


def test_newer_tensors(case):
    problem, tensors = case
    device = tensors["q"].device
    rng = np.random.default_rng(0)
    meaning = {
        "sinks": rng.standard_normal(4).astype(np.float32),
        "bias": rng.standard_normal((5, 5)).astype(np.float32),
        "bidirectional_ranges": np.int32([[[2, 9], [0, 0]], [[35, 39], [5, 1]], [[0, 2], [0, 0]]]),
        "causal_per_seq": np.uint8([1, 0, 1]),
        "prefix_lens": np.int32([4, 0, 2]),
        "prefix_window_left": 7,
        "window_left": 20,
        "clamp_ranges_to_window_left": True,
    }
    given = problems.to_torch(meaning, device)
    out = call(tensors, window=(20, 0), causal=given["causal_per_seq"].bool(), sinks=given["sinks"],
               qq_bias=given["bias"], mm_prefix_range=given["bidirectional_ranges"],
               mm_prefix_clamp_sliding_window=True, rswa_prefix_lens=given["prefix_lens"],
               rswa_window=8)
    oracle.check({**problem, **meaning}, out)


@pytest.mark.parametrize("as_uint8", [False, True])
def test_fp8_cache_and_output(as_uint8):
    problem = problems.make(12, [(2, 30), (1, 7)], kv_dtype=E4M3)
    problem |= {"softmax_scale": 0.25, "k_scale": np.float32([[0.5] * 2] * 2),
                "v_scale": np.float32([[2.0] * 2] * 2), "out_scale": np.float32([0.02])}
    tensors = problems.to_torch(problem)
    if as_uint8:
        tensors |= {name: tensors[name].view(torch.uint8) for name in ("k_pages", "v_pages")}
    out = torch.zeros(tensors["q"].shape, dtype=torch.float8_e4m3fn)
    # As vLLM passes a scale of one element for the whole tensor: expanded, with strides of 0.
    scales = [torch.tensor(float(problem[f"{n}_scale"][0, 0])).expand(2, 2) for n in "kv"]
    oracle.check(problem, call(tensors, descales=(None, *scales), out=out,
                               output_scale=tensors["out_scale"]))


def test_int8_per_token_and_head():
    problem = problems.make(13, [(2, 30)], kv_dtype=np.dtype(np.int8))
    rng = np.random.default_rng(1)
    problem |= {"softmax_scale": 0.25,
                **{f"{n}_token_scale": rng.random(problem["k_pages"].shape[:3]).astype(np.float32) / 64
                   for n in "kv"}}
    tensors = problems.to_torch(problem)
    oracle.check(problem, call(tensors, kv_quant_mode=2, k_scale_cache=tensors["k_token_scale"],
                               v_scale_cache=tensors["v_token_scale"]))


def test_what_is_not_there(case):
    with pytest.raises(NotImplementedError, match="kv_quant_mode: got 4"):
        call(case[1], kv_quant_mode=4)


def test_numpy_too():
    problem = problems.make(14, [(2, 30)], dtype=BF16)
    out = np.zeros(problem["q"].shape, BF16)
    pagoda.unified_attention(problem["q"], problem["k_pages"], problem["v_pages"], out,
                             problem["cu_seqlens_q"], 2, problem["seqused_k"], 30, 0.25, True, (-1, -1),
                             problem["block_table"], 0.0, None, None, None)
    oracle.check({**problem, "softmax_scale": 0.25}, out)


# What the kernel takes by keyword, under its names.
NEWER = {"alibi_sqrt": "use_alibi_sqrt", "bias": "qq_bias", "sinks": "sinks", "prefix_lens": "rswa_prefix_lens",
         "bidirectional_ranges": "mm_prefix_range",
         "clamp_ranges_to_window_left": "mm_prefix_clamp_sliding_window"}
NOT_OF_THE_KERNEL = ("tree_words", "window_right", "chunk_size", "chunk_lookback", "page_indptr",
                     "page_indices")


@given(problem=problems.any_problem(), as_bytes=st.booleans(),
       chunks=st.one_of(st.none(), st.tuples(st.integers(1, 9), st.integers(0, 2))))
def test_anything_that_the_kernel_can_say(device, problem, chunks, as_bytes):
    """Random problems of the contract, said in the kernel's words, against the oracle."""
    assume("block_table" in problem)
    for name in NOT_OF_THE_KERNEL:
        problem.pop(name, None)
    per_seq = problem.get("causal_per_seq")
    # Without causality the kernel's window holds on both sides, and with chunks it is their size.
    left = problem.get("window_left", -1)
    said = left
    if chunks is not None:
        size, lookback = chunks
        said = size * (lookback + 1) - 1
        problem.pop("window_left", None)
        problem |= {"chunk_size": size, "chunk_lookback": lookback, "clamp_ranges_to_window_left": False}
    elif per_seq is None and not problem["causal"]:
        problem["window_right"] = left
    by_token = "k_token_scale" in problem
    kv_type = problem["k_pages"].dtype
    tensors = problems.to_torch(problem, device)
    assume(device == "cpu" or not pagoda.supported(**tensors))
    newer = {NEWER[n]: v for n, v in tensors.items() if n in NEWER}
    if by_token:
        newer |= {"kv_quant_mode": 2 if kv_type == np.int8 else 3,
                  "k_scale_cache": tensors["k_token_scale"], "v_scale_cache": tensors["v_token_scale"]}
    if as_bytes and kv_type == E4M3:
        tensors |= {name: tensors[name].view(torch.uint8) for name in ("k_pages", "v_pages")}
    lengths = problem["seqused_k"]
    out = torch.full_like(tensors["q"], float("nan"))
    pagoda.unified_attention(
        tensors["q"], tensors["k_pages"], tensors["v_pages"], out, tensors["cu_seqlens_q"], len(problem["q"]),
        tensors["seqused_k"], int(max(lengths, default=0)), problem.get("softmax_scale", 0.0),
        problem["causal"] if per_seq is None else tensors["causal_per_seq"].bool(), (said, 0),
        tensors["block_table"], problem.get("logits_soft_cap", 0.0), None, tensors.get("k_scale"),
        tensors.get("v_scale"), tensors.get("alibi_slopes"),
        rswa_window=problem.get("prefix_window_left", -1) + 1,
        chunk_lookback=-1 if chunks is None else chunks[1], **newer)
    oracle.check(problem, problems.to_numpy(out))


@pytest.mark.parametrize("mode", [4, 5, 99])
def test_a_newer_mode_is_named(case, mode):
    with pytest.raises(NotImplementedError, match=f"unified_attention: kv_quant_mode: got {mode}"):
        call(case[1], kv_quant_mode=mode)


@pytest.mark.parametrize("change, kind, text", [
    ({"window_size": (None, 0)}, None, ""),
    ({"window_size": ("a", 0)}, TypeError, "window_left: wants an int"),
    ({"window_size": 3}, TypeError, "subscriptable"),
    ({"softcap": "x"}, TypeError, "softcap: wants a float"),
    ({"kv_quant_mode": 1.5}, TypeError, "kv_quant_mode: wants an int"),
    ({"block_table": None}, TypeError, r"unified_attention\(\) wants the argument 'block_table'"),
    ({"k": 3}, TypeError, "k: got int, wants a tensor"),
    ({"causal": "yes"}, TypeError, "causal_per_seq: got str, wants a tensor"),
    ({"max_seqlen_q": -1}, ValueError, r"pagoda\.unified_attention: max_seqlen_q: got -1"),
])
def test_errors_name_the_argument(case, change, kind, text):
    tensors = case[1]
    arguments = dict(zip(SEED_SIGNATURE, (
        tensors["q"], tensors["k_pages"], tensors["v_pages"], torch.full_like(tensors["q"], 7),
        tensors["cu_seqlens_q"], 9, tensors["seqused_k"], 99, 0.25, True, (-1, -1), tensors["block_table"],
        0.0, None, None, None)))
    arguments |= change
    if kind is None:
        pagoda.unified_attention(**arguments)
        return
    with pytest.raises(kind, match=text):
        pagoda.unified_attention(**arguments)
    assert (arguments["out"] == 7).all()
