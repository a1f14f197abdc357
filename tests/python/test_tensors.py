"""How tensors come in: frameworks, types, strides, and what is refused in which words."""

import gc
import subprocess
import sys
import weakref

import ml_dtypes
import numpy as np
import pagoda
import pytest

import oracle
import problems

torch = pytest.importorskip("torch")

LENGTHS = [(1, 20), (3, 9)]


class OnlyDlpack:
    """A producer of DLPack that has nothing else, as older frameworks are."""

    def __init__(self, array, versioned=True):
        self.array = array
        self.versioned = versioned

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **options):
        if self.versioned:
            return self.array.__dlpack__(**options)
        if options:
            raise TypeError("knows no options")
        return self.array.__dlpack__()


def float32_problem():
    return problems.make(3, LENGTHS, dtype=np.dtype(np.float32))


def test_frameworks_agree_bit_for_bit():
    for dtype in problems.WIDE:
        problem = problems.make(3, LENGTHS, dtype=dtype)
        from_numpy = pagoda.attention(**problem)
        from_torch = pagoda.attention(**problems.to_torch(problem))
        assert type(from_numpy) is np.ndarray and from_numpy.dtype == dtype
        assert np.array_equal(from_numpy, problems.to_numpy(from_torch))
        oracle.check(problem, from_numpy)


@pytest.mark.parametrize("versioned", [True, False])
def test_the_dlpack_method(versioned):
    problem = float32_problem()
    wrapped = {name: OnlyDlpack(value, versioned) for name, value in problem.items()}
    out = np.zeros_like(problem["q"])
    pagoda.attention(**wrapped, out=out)
    assert np.array_equal(out, pagoda.attention(**problem))


def test_borrowed_tensors_are_given_back():
    problem = float32_problem()
    wrapped = {name: OnlyDlpack(value) for name, value in problem.items()}
    before = {name: sys.getrefcount(value) for name, value in problem.items()}
    for _ in range(5):
        pagoda.attention(**wrapped, out=np.zeros_like(problem["q"]))
        pagoda.attention(**problem)
    gc.collect()
    assert {name: sys.getrefcount(value) for name, value in problem.items()} == before
    tensor = problems.to_torch(problem)
    gone = weakref.ref(tensor["q"])
    plan = pagoda.plan(**tensor)
    del tensor
    gc.collect()
    assert gone() is None and plan is not None


def test_a_plan_keeps_its_workspace():
    problem = float32_problem()
    size = pagoda.workspace_size(max_num_tokens=4, max_num_seqs=2, max_seqlen_k=24, num_q_heads=4,
                                 num_kv_heads=2, head_dim=16)
    workspace = np.zeros(size + 1, np.uint8)[1:]  # an odd address
    plan = pagoda.plan(**problem, workspace=workspace)
    kept = weakref.ref(workspace)
    del workspace
    gc.collect()
    assert kept() is not None
    assert np.array_equal(pagoda.attention(**problem, plan=plan), pagoda.attention(**problem))
    del plan
    gc.collect()
    assert kept() is None
    with pytest.raises(ValueError, match="workspace: .*bytes"):
        pagoda.attention(**problem, workspace=np.zeros(64, np.uint8))


def test_workspaces_for_a_type_of_k_and_v():
    limits = dict(max_num_tokens=4, max_num_seqs=2, max_seqlen_k=24, num_q_heads=4, num_kv_heads=2,
                  head_dim=16)
    sizes = [pagoda.workspace_size(**limits, kv_dtype=dtype) for dtype in ("float8_e4m3", np.dtype(ml_dtypes.bfloat16))]
    assert sizes[0] == sizes[1] == pagoda.workspace_size(**limits)  # the CPU converts nothing before
    with pytest.raises(ValueError, match="kv_dtype: got int64, wants float32, "):
        pagoda.workspace_size(**limits, kv_dtype="int64")


def test_integers_that_stand_for_floats():
    problem = problems.make(4, LENGTHS, kv_dtype=problems.E4M3)
    want = pagoda.attention(**problem)
    raw = dict(problem, q=problem["q"].view(np.uint16), k_pages=problem["k_pages"].view(np.uint8),
               v_pages=problem["v_pages"].view(np.uint8))
    got = pagoda.attention(**raw, q_dtype="bfloat16", kv_dtype=torch.float8_e4m3fn)
    assert got.dtype == np.uint16 and np.array_equal(got.view(problems.BF16), want)
    assert got is not want
    with pytest.raises(TypeError, match="q: got elements of 2 bytes of type uint16, wants q_dtype="):
        pagoda.attention(**raw, kv_dtype="float8_e4m3")
    with pytest.raises(TypeError, match="k_pages: got elements of 1 bytes and a type of another size"):
        pagoda.attention(**raw, q_dtype="bfloat16", kv_dtype="bfloat16")


def test_strided_tensors_are_read_in_place():
    problem = float32_problem()
    wide = np.full((4, 9, 16), np.nan, np.float32)
    wide[:, 1:5] = problem["q"]
    out = np.full((4, 6, 16), 7, np.float32)
    assert pagoda.attention(**dict(problem, q=wide[:, 1:5]), out=out[:, 1:5]) is not None
    assert np.array_equal(out[:, 1:5], pagoda.attention(**problem))
    assert (out[:, 0] == 7).all() and (out[:, 5] == 7).all()


def test_parameters_and_inference_tensors():
    problem = problems.to_torch(float32_problem())
    sinks = torch.nn.Parameter(torch.randn(4))
    with torch.inference_mode():
        got = pagoda.attention(**dict(problem, q=problem["q"] * 1), sinks=sinks)
    assert torch.equal(got, pagoda.attention(**problem, sinks=sinks.detach()))


@pytest.mark.parametrize("change, kind, text", [
    ({"q": [1.0]}, TypeError, "q: got list, wants a tensor"),
    ({"q": 3}, TypeError, "q: got int, wants a tensor"),
    ({"q": np.zeros((4, 4, 16))}, TypeError, "q: got dtype"),
    ({"q": np.zeros((4, 4, 16), ml_dtypes.float8_e4m3)}, TypeError, "q: got dtype float8_e4m3,"),
    ({"q": np.zeros((4, 4), np.float32)}, ValueError, r"q: got shape \[4, 4\], wants"),
    ({"q": np.zeros((4, 4, 16, 1, 1, 1), np.float32)}, ValueError, "q: got shape of rank 6"),
    ({"seqused_k": np.zeros(2, np.int64)}, ValueError, "pagoda.attention: seqused_k: got dtype int64"),
    ({"block_table": None}, ValueError, "block_table: got neither it nor page_indptr"),
    ({"cu_seqlens_q": None}, TypeError, "wants the argument 'cu_seqlens_q'"),
    ({"window_left": -2}, ValueError, "window_left: got -2"),
    ({"window_left": 2**40}, ValueError, "window_left: wants an int that fits"),
    ({"window_left": 1.5}, TypeError, "window_left: wants an int"),
    ({"softmax_scale": "big"}, TypeError, "softmax_scale: wants a float"),
    ({"softmax_scale": -1.0}, ValueError, "softmax_scale: got -1"),
    ({"lse_layout": "rows"}, ValueError, "lse_layout: got 'rows', wants 'heads_tokens' or"),
    ({"split_policy": "even"}, ValueError, "split_policy: got 'even'"),
    ({"window": 3}, TypeError, "has no argument 'window'"),
    ({"plan": 3}, TypeError, "plan: wants what pagoda.plan"),
    ({"kv_dtype": "int5"}, ValueError, "kv_dtype: got 'int5'"),
    ({"checked": True, "block_table": np.full((2, 3), 99, np.int32)}, ValueError, "sequence"),
])
def test_errors_name_the_argument(change, kind, text):
    out = np.full((4, 4, 16), 7, np.float32)
    with pytest.raises(kind, match=text):
        pagoda.attention(**{**float32_problem(), "out": out, **change})
    assert (out == 7).all()


def test_outputs_must_be_writable():
    problem = float32_problem()
    out = np.zeros((4, 4, 16), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out: got a read-only tensor"):
        pagoda.attention(**problem, out=out)
    low = np.zeros((4, 4, 16), problems.BF16)
    low.flags.writeable = False
    with pytest.raises(ValueError, match="out: got a read-only tensor"):
        pagoda.attention(**problem, out=low)
    problem["q"].flags.writeable = False  # what is only read may be
    pagoda.attention(**problem)


def test_what_is_not_on_a_known_device():
    problem = problems.to_torch(float32_problem())
    with pytest.raises((TypeError, ValueError, RuntimeError, NotImplementedError)):
        pagoda.attention(**dict(problem, block_table=problem["block_table"].to("meta")),
                         out=torch.empty_like(problem["q"]))


def test_supported_and_explain():
    problem = float32_problem()
    assert pagoda.supported(**problem) == []
    reasons = pagoda.supported(**problem, window_left=-3, fixed_split_keys=7)
    assert len(reasons) == 2 and "window_left" in reasons[0] and "fixed_split_keys" in reasons[1]
    said = pagoda.explain(**problem)
    assert said.backend == "cpu" and said.num_items > 0 and said.flops > 0
    assert said.num_workers > 0 and f"workers: {said.num_workers}\n" in said.text
    assert said.roof_seconds == said.predicted_seconds == 0.0
    assert str(said).startswith("backend: cpu")
    assert pagoda.explain(**problem, plan=pagoda.plan(**problem)) == said


def test_threads_may_call_at_once():
    from concurrent.futures import ThreadPoolExecutor
    problem = problems.make(5, [(1, 500), (7, 300), (40, 40)], head_dim=64)
    want = pagoda.attention(**problem)
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: pagoda.attention(**problem), range(40)):
            assert np.array_equal(got, want)


def test_it_needs_no_framework():
    code = ("import sys, pagoda; from array import array; "
            "heavy = {'torch', 'numpy', 'transformers', 'vllm'} & set(sys.modules); "
            "sys.exit(1 if heavy else 0)")
    subprocess.run([sys.executable, "-c", code], check=True)
