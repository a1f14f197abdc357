"""Writing, gathering, copying pages, and merging states, against NumPy."""

import numpy as np
import pagoda
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
import problems
from problems import BF16, E4M3, E5M2

torch = pytest.importorskip("torch")

LIMIT = {np.dtype(np.int8): 127.0, E4M3: 448.0, E5M2: 57344.0}


def new_tokens(seed, num_tokens=7, num_heads=2, head_dim=16, dtype=BF16):
    rng = np.random.default_rng(seed)
    return rng, [problems.random_values(rng, (num_tokens, num_heads, head_dim), dtype)
                 for _ in range(2)]


def quantised(values, dtype):
    """Rounded to nearest even and saturated."""
    limit = LIMIT[dtype]
    clipped = np.clip(values, -limit, limit)
    return np.rint(clipped).astype(np.int8) if dtype == np.int8 else clipped.astype(np.float32).astype(dtype)


@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(problems.WIDE),
       framework=st.sampled_from(["numpy", "torch"]))
def test_write_plain(seed, dtype, framework):
    rng, (k, v) = new_tokens(seed, dtype=dtype)
    pages = [np.full((4, 5, 2, 16), 3, dtype) for _ in range(2)]
    slots = rng.permutation(20)[:7].astype(np.int64)
    slots[rng.integers(0, 7)] = -1
    want = [p.copy() for p in pages]
    for p, x in zip(want, (k, v)):
        for j, slot in enumerate(slots):
            if slot >= 0:
                p[slot // 5, slot % 5] = x[j]
    arguments = {"k": k, "v": v, "k_pages": pages[0], "v_pages": pages[1], "slot_mapping": slots}
    if framework == "torch":
        arguments = problems.to_torch(arguments)  # of the same memory
    pagoda.write_kv_cache(**arguments)
    assert all(np.array_equal(p, w) for p, w in zip(pages, want))


@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from([E4M3, E5M2]))
def test_write_fp8_with_scales(seed, dtype):
    rng, (k, v) = new_tokens(seed, dtype=np.dtype(np.float32))
    pages = [np.zeros((2, 5, 2, 16), dtype) for _ in range(2)]
    scale = np.float32([0.001, 0.25])  # the first saturates
    slots = np.arange(7, dtype=np.int64)
    pagoda.write_kv_cache(k, v, *pages, slots, k_scale=scale, v_scale=scale)
    for p, x in zip(pages, (k, v)):
        want = quantised(x / scale[:, None], dtype)
        assert np.array_equal(p.reshape(10, 2, 16)[:7].view(np.uint8), want.view(np.uint8))


@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(list(LIMIT)))
def test_write_with_token_scales_and_attend(seed, dtype):
    _, (k, v) = new_tokens(seed)
    pages = [np.zeros((2, 8, 2, 16), dtype) for _ in range(2)]
    scales = [np.full((2, 8, 2), np.nan, np.float32) for _ in range(2)]
    slots = np.arange(7, dtype=np.int64) + 8
    pagoda.write_kv_cache(k, v, *pages, slots, k_token_scale=scales[0], v_token_scale=scales[1])
    for p, s, x in zip(pages, scales, (k, v)):
        x = oracle.as_f64(x)
        want = np.maximum(np.abs(x).max(2) / LIMIT[dtype], 1e-6)
        np.testing.assert_allclose(s[1, :7], want, rtol=1e-6)
        step = s[1, :7, :, None] * (0.51 if dtype == np.int8 else np.abs(oracle.as_f64(p[1, :7])) / 8 + 1e-2)
        assert (np.abs(oracle.as_f64(p[1, :7]) * s[1, :7, :, None] - x) <= step).all()
    problem = {"q": k.repeat(2, 1), "k_pages": pages[0], "v_pages": pages[1],
               "k_token_scale": scales[0], "v_token_scale": scales[1],
               "block_table": np.int32([[1]]), "cu_seqlens_q": np.int32([0, 7]),
               "seqused_k": np.int32([7])}
    oracle.check(problem, pagoda.attention(**problem))


@pytest.mark.parametrize("interleaved", [False, True])
def test_write_with_rotation(interleaved):
    rng, (k, v) = new_tokens(6, dtype=np.dtype(np.float32))
    q = problems.random_values(rng, (7, 4, 16), k.dtype)
    table = rng.standard_normal((50, 8)).astype(np.float32)
    positions = rng.integers(0, 50, 7)
    pages = [np.zeros((2, 5, 2, 16), np.float32) for _ in range(2)]

    def rotated(x):
        c, s = table[positions, None, :4], table[positions, None, 4:]
        y = x.copy()
        first, second = (slice(0, 8, 2), slice(1, 8, 2)) if interleaved else (slice(0, 4), slice(4, 8))
        a, b = x[..., first], x[..., second]
        y[..., first], y[..., second] = a * c - b * s, b * c + a * s
        return y

    want_k, want_q = rotated(k), rotated(q)
    pagoda.write_kv_cache(k, v, *pages, np.arange(7), rope_cos_sin=table, rope_positions=positions,
                          rope_interleaved=interleaved, rope_q=q)
    np.testing.assert_allclose(pages[0].reshape(10, 2, 16)[:7], want_k, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(q, want_q, rtol=1e-6, atol=1e-6)


def test_checked_writes_nothing():
    _, (k, v) = new_tokens(7)
    pages = [np.zeros((1, 5, 2, 16), BF16) for _ in range(2)]
    with pytest.raises(ValueError, match="slot"):
        pagoda.write_kv_cache(k, v, *pages, np.int64([0, 1, 2, 3, 4, 5, 6]), checked=True)
    assert (pages[0] == 0).all()


def test_gather_and_dequantise():
    problem = problems.make(8, [(1, 13), (1, 6)], kv_dtype=E4M3)
    lengths = [10, 6]
    starts = np.int32([3, 0])
    rows = np.cumsum([0, *lengths]).astype(np.int32)
    scale = np.float32([0.5, 2.0])
    for dtype in (E4M3, np.dtype(np.float32), BF16):
        outs = [np.zeros((16, 2, 16), dtype) for _ in range(2)]
        scales = {} if dtype == E4M3 else {"k_scale": scale, "v_scale": scale}
        pagoda.gather_kv_cache(problem["k_pages"], problem["v_pages"], *outs, cu_seqlens_k=rows,
                               seq_starts=starts, block_table=problem["block_table"], **scales)
        for name, out in zip("kv", outs):
            with_scales = {**problem, f"{name}_scale": None if dtype == E4M3 else scale}
            for seq in range(2):
                want = oracle.gathered(with_scales, name, seq, starts[seq] + lengths[seq])[starts[seq]:]
                got = oracle.as_f64(out[rows[seq]:rows[seq + 1]])
                assert np.array_equal(got, want)


def test_copy_and_swap_pages():
    source = np.arange(5 * 2 * 1 * 8, dtype=np.float32).reshape(5, 2, 1, 8)
    for call in (pagoda.copy_pages, pagoda.swap_pages):
        destination = np.zeros_like(source)
        call(source, destination, np.int64([[1, 4], [3, 0]]))
        assert np.array_equal(destination[[4, 0]], source[[1, 3]])
        assert (destination[[1, 2, 3]] == 0).all()


@pytest.mark.parametrize("framework", ["numpy", "torch"])
@pytest.mark.parametrize("layout", ["heads_tokens", "tokens_heads"])
def test_states_of_disjoint_keys_merge(framework, layout):
    problem = problems.make(9, [(4, 24)], dtype=np.dtype(np.float32), page_size=8)
    whole, whole_lse = pagoda.attention(**problem, causal=False, return_lse=True, lse_layout=layout)
    parts = []
    for pages in ([0], [1, 2]):
        part = dict(problem, block_table=np.ascontiguousarray(problem["block_table"][:, pages]),
                    seqused_k=np.int32([8 * len(pages)]))
        if framework == "torch":
            part = problems.to_torch(part)
        parts.append(pagoda.attention(**part, causal=False, return_lse=True, lse_layout=layout))
    out, lse = pagoda.merge_states(parts, lse_layout=layout)
    np.testing.assert_allclose(np.asarray(out), whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.asarray(lse), whole_lse, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="at least one"):
        pagoda.merge_states([])
    with pytest.raises(TypeError, match="tuples"):
        pagoda.merge_states([(out, lse), (out,)])
