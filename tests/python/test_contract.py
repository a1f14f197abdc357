"""The whole contract against an oracle in double precision, through NumPy and through torch."""

import numpy as np
import pagoda
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import oracle
import problems
from problems import BF16, E4M3

torch = pytest.importorskip("torch")


def run(problem, framework, device, **options):
    """(out, lse) as arrays. What the device's backend has no code for is no counterexample."""
    on_cpu = device == "cpu"
    tensors = problem if framework == "numpy" and on_cpu else problems.to_torch(problem, device)
    assume(on_cpu or not pagoda.supported(**tensors))
    out, lse = pagoda.attention(**tensors, return_lse=True, **options)
    return problems.to_numpy(out), problems.to_numpy(lse)


@given(problem=problems.any_problem(), framework=st.sampled_from(["numpy", "torch"]),
       split=st.sampled_from(["balanced", "fixed"]),
       layout=st.sampled_from(["heads_tokens", "tokens_heads"]))
def test_attention(device, problem, framework, split, layout):
    out, lse = run(problem, framework, device, split_policy=split, lse_layout=layout)
    oracle.check(problem, out, lse, layout)


@given(problem=problems.any_problem())
def test_a_plan_serves_layers_of_other_contents(device, problem):
    tensors = problems.to_torch(problem, device)
    assume(device == "cpu" or not pagoda.supported(**tensors))
    plan = pagoda.plan(**tensors)
    want = pagoda.attention(**tensors)
    assert torch.equal(_bits(pagoda.attention(**tensors, plan=plan), problem),
                       _bits(want, problem))
    other = dict(tensors, k_pages=tensors["v_pages"], v_pages=tensors["k_pages"])
    assert torch.equal(_bits(pagoda.attention(**other, plan=plan), problem),
                       _bits(pagoda.attention(**other), problem))


def _bits(out, problem):
    """The rows that belong to a sequence; NaN compares by its bits."""
    return out[:problem["cu_seqlens_q"][-1]].contiguous().view(torch.uint8)


@given(seed=st.integers(0, 2**32 - 1), kv=st.sampled_from([problems.E4M3, problems.E5M2]),
       out_dtype=st.sampled_from([BF16, E4M3]), framework=st.sampled_from(["numpy", "torch"]))
def test_fp8_queries_and_output(device, seed, kv, out_dtype, framework):
    problem = problems.make(seed, [(3, 20), (1, 40)], dtype=E4M3, kv_dtype=kv)
    rng = np.random.default_rng(seed)
    for name in ("q_scale", "k_scale", "v_scale"):
        problem[name] = (0.1 + rng.random((2, 2))).astype(np.float32)
    if out_dtype == E4M3:
        problem["out_scale"] = np.array([0.01 + rng.random()], np.float32)
    call = {**problem, "out": np.zeros(problem["q"].shape, out_dtype)}
    if framework == "torch" or device != "cpu":
        call = problems.to_torch(call, device)
    pagoda.attention(**call)
    oracle.check(problem, problems.to_numpy(call["out"]))


def test_rows_of_no_sequence_are_left_alone(device):
    problem = problems.to_torch(problems.make(1, [(2, 9)], padding_rows=3), device)
    out = torch.full_like(problem["q"], 7)
    lse = torch.full((4, 5), 7.0, device=device)
    pagoda.attention(**problem, out=out, lse=lse)
    assert (out[2:] == 7).all() and (lse[:, 2:] == 7).all()
    assert (out[:2] != 7).any() and (lse[:, :2] != 7).all()


def test_fixed_split_does_not_depend_on_the_batch(device):
    lengths = [(1, 700), (5, 300), (1, 64)]
    problem = problems.to_torch(problems.make(2, lengths, head_dim=64, page_size=16), device)
    together = pagoda.attention(**problem, split_policy="fixed", fixed_split_keys=128)
    alone = dict(problem, q=problem["q"][:1], cu_seqlens_q=problem["cu_seqlens_q"][:2],
                 seqused_k=problem["seqused_k"][:1], block_table=problem["block_table"][:1])
    single = pagoda.attention(**alone, split_policy="fixed", fixed_split_keys=128)
    assert torch.equal(together[:1], single)


@given(problem=problems.any_problem(), gap=st.integers(0, 3))
def test_rows_without_pages(device, problem, gap):
    """K and V as rows, a sequence's from kv_starts on, are the same as in pages."""
    assume("k_token_scale" not in problem)
    lengths = [int(n) for n in problem["seqused_k"]]
    starts = np.cumsum([gap, *(n + gap for n in lengths)])[:-1].astype(np.int32)
    rows = dict(problem, kv_starts=starts[:len(lengths)], max_seqlen_k=max(lengths, default=0))
    for name in ("k_pages", "v_pages"):
        pages = problem[name]
        flat = np.full((sum(lengths) + gap * (len(lengths) + 1), *pages.shape[2:]),
                       problems.poison(pages.dtype), pages.dtype)
        for seq, length in enumerate(lengths):
            tokens = np.arange(length)
            ids = np.asarray(oracle.pages_of(problem, seq))[tokens // pages.shape[1]]
            flat[starts[seq]:starts[seq] + length] = pages[ids, tokens % pages.shape[1]]
        rows[name] = flat
    for name in ("block_table", "page_indptr", "page_indices"):
        rows.pop(name, None)
    out, lse = run(rows, "torch", device)
    oracle.check(problem, out, lse)


def test_rows_and_pages_exclude_each_other():
    problem = problems.make(1, [(2, 9)])
    with pytest.raises(ValueError, match="kv_starts: got it beside a table"):
        pagoda.attention(**problem, kv_starts=np.zeros(1, np.int32))
    del problem["block_table"]
    with pytest.raises(ValueError, match="kv_starts: wants k_pages and v_pages to be rows"):
        pagoda.attention(**problem, kv_starts=np.zeros(1, np.int32))
