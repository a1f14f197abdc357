"""torch.compile, opcheck, tensor subclasses and CUDA graphs."""

import pagoda
import pytest

import problems

torch = pytest.importorskip("torch")

LENGTHS = [(1, 20), (3, 9)]


@pytest.fixture
def tensors(device):
    return problems.to_torch(problems.make(21, LENGTHS, head_dim=64), device)


def written(problem):
    """New tokens for the last slots of the two sequences."""
    table, device = problem["block_table"], problem["q"].device
    slots = torch.stack([table[0, 2].long() * 8 + 3, table[1, 1].long() * 8]).to(device)
    new = torch.ones(2, 2, 64, dtype=torch.bfloat16, device=device)
    return {"k": new, "v": new, "slot_mapping": slots}


def layer(q, problem, new):
    pages = {name: problem[name] for name in ("k_pages", "v_pages")}
    pagoda.write_kv_cache(**new, **pages)
    first, lse = pagoda.attention(q * 2, return_lse=True, window_left=5, **problem)
    second = torch.empty_like(q)
    pagoda.unified_attention(q, *pages.values(), second, problem["cu_seqlens_q"], 3, problem["seqused_k"],
                             30, 0.125, True, (-1, -1), problem["block_table"], 0.0, None, None, None)
    merged, merged_lse = pagoda.merge_states([(first, lse), (second, lse)])
    return merged + 1, merged_lse


@pytest.mark.filterwarnings("ignore")
def test_compiled_as_one_graph(tensors):
    q = tensors.pop("q")
    copies = {name: value.clone() for name, value in tensors.items()}
    want = layer(q, tensors, written(tensors | {"q": q}))
    got = torch.compile(layer, fullgraph=True)(q, copies, written(copies | {"q": q}))
    assert all(torch.equal(a, b) for a, b in zip(got, want))
    assert torch.equal(copies["k_pages"].view(torch.int16), tensors["k_pages"].view(torch.int16))


def opcheck(name, arguments, options):
    import pagoda.torch  # noqa: F401
    torch.library.opcheck(getattr(torch.ops.pagoda, name).default, arguments, options)


@pytest.mark.parametrize("with_lse", [False, True])
def test_attention_passes_opcheck(device, tensors, with_lse):
    opcheck("attention", (), dict(
        tensors, out=torch.empty_like(tensors["q"]), sinks=torch.randn(4, device=device), window_left=4,
        lse=torch.zeros(4, 4, device=device) if with_lse else None))


@pytest.mark.parametrize("newer", [False, True])
def test_unified_attention_passes_opcheck(device, tensors, newer):
    names = {"k_pages": "k", "v_pages": "v"}
    options = {names.get(name, name): value for name, value in tensors.items()}
    options |= {"out": torch.empty_like(tensors["q"]), "softmax_scale": 0.125}
    if newer:
        options |= {"causal_per_seq": torch.ones(2, dtype=torch.bool, device=device), "window_left": 5,
                    "sinks": torch.randn(4, device=device), "chunk_lookback": 1}
    opcheck("unified_attention", (), options)


def test_cache_operators_pass_opcheck(device, tensors):
    pages = {name: torch.zeros_like(tensors[name]) for name in ("k_pages", "v_pages")}
    opcheck("write_kv_cache", (), written(tensors) | pages)
    rows = {name: torch.zeros(29, 2, 64, dtype=torch.bfloat16, device=device) for name in ("k_out", "v_out")}
    starts = torch.tensor([0, 20, 29], dtype=torch.int32, device=device)
    opcheck("gather_kv_cache", (), pages | rows | {"cu_seqlens_k": starts,
                                                    "block_table": tensors["block_table"]})


def test_merge_passes_opcheck(device):
    outs = [torch.randn(3, 4, 64, device=device) for _ in range(3)]
    lses = [torch.randn(4, 3, device=device) for _ in range(3)]
    opcheck("merge_states", (outs[:2], lses[:2], outs[2]), {"lse": lses[2]})


def test_eager_calls_do_not_meet_the_dispatcher(device, tensors):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Recorded(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.seen = []

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.seen.append(str(function))
            return function(*args, **(kwargs or {}))

    out = torch.empty_like(tensors["q"])
    new = written(tensors)
    pages = {name: tensors[name] for name in ("k_pages", "v_pages")}
    with Recorded() as mode:
        pagoda.write_kv_cache(**new, **pages)
        pagoda.attention(**tensors, out=out)
        pagoda.unified_attention(
            tensors["q"], *pages.values(), out, tensors["cu_seqlens_q"], 3, tensors["seqused_k"], 30, 0.125,
            True, (-1, -1), tensors["block_table"], 0.0, None, None, None)
    # On CUDA the two steps without a plan take their workspaces from torch's allocator.
    assert mode.seen == ([] if device == "cpu" else 2 * ["aten.empty.memory_format"])


@pytest.mark.filterwarnings("ignore")
def test_a_gather_is_compiled_too(device, tensors):
    starts = torch.tensor([0, 20, 29], dtype=torch.int32, device=device)

    def gathered(k_pages, v_pages, block_table):
        k, v = torch.zeros(2, 29, 2, 64, dtype=torch.bfloat16, device=device).unbind()
        pagoda.gather_kv_cache(k_pages, v_pages, k, v, cu_seqlens_k=starts, block_table=block_table)
        return k + v

    arguments = [tensors[name] for name in ("k_pages", "v_pages", "block_table")]
    assert torch.equal(torch.compile(gathered, fullgraph=True)(*arguments), gathered(*arguments))


def test_a_subclass_goes_through_the_dispatcher(tensors):
    class Tagged(torch.Tensor):
        seen = []

        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            cls.seen.append(function)
            return super().__torch_function__(function, types, args, kwargs or {})

    out = torch.empty_like(tensors["q"])
    pagoda.attention(**dict(tensors, q=tensors["q"].as_subclass(Tagged)), out=out)
    assert torch.ops.pagoda.attention.default in Tagged.seen or any(
        "pagoda" in str(f) for f in Tagged.seen)
    assert torch.equal(out, pagoda.attention(**tensors))


def test_fake_tensors_are_not_computed(tensors):
    from torch._subclasses.fake_tensor import FakeTensorMode
    with FakeTensorMode() as mode:
        fakes = {name: mode.from_tensor(value) for name, value in tensors.items()}
        out = pagoda.attention(**fakes)
    assert out.shape == tensors["q"].shape


def test_compiled_calls_take_no_plan(tensors):
    plan = pagoda.plan(**tensors)

    def call(problem):
        return pagoda.attention(**problem, plan=plan)

    with pytest.raises(Exception, match="plan: got one in a compiled graph"):
        torch.compile(call, fullgraph=True)(tensors)


def test_captured_in_a_cuda_graph(device, tensors):
    if device == "cpu":
        pytest.skip("no CUDA device")
    out = torch.empty_like(tensors["q"])
    size = pagoda.workspace_size(device=tensors["q"].device, max_num_tokens=4, max_num_seqs=2,
                                 max_seqlen_k=32, num_q_heads=4, num_kv_heads=2, head_dim=64)
    workspace = torch.empty(size, dtype=torch.uint8, device=device)

    def step():
        plan = pagoda.plan(**tensors, workspace=workspace)
        pagoda.attention(**tensors, plan=plan, out=out)

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    for lengths in ((20, 9), (3, 16)):
        tensors["seqused_k"].copy_(torch.tensor(lengths, dtype=torch.int32))
        tensors["k_pages"].nan_to_num_()
        tensors["v_pages"].nan_to_num_()
        out.fill_(7)
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(out, pagoda.attention(**tensors))


def test_a_stream_that_is_none(tensors):
    with pytest.raises(TypeError, match="stream: wants a stream of torch or CuPy, or a cudaStream_t as an int"):
        pagoda.attention(**tensors, stream="default")


@pytest.mark.parametrize("as_int", [False, True])
def test_a_call_runs_on_the_stream_that_is_named(device, tensors, as_int):
    """What lies ahead on that stream is done first, although the current stream is free."""
    if device == "cpu":
        pytest.skip("no CUDA device")
    want = pagoda.attention(**tensors)
    q, out = torch.zeros_like(tensors["q"]), torch.empty_like(tensors["q"])
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(100_000_000)
        q.copy_(tensors["q"])
    pagoda.attention(**dict(tensors, q=q), out=out, stream=side.cuda_stream if as_int else side)
    assert not side.query()  # and nothing was waited for
    side.synchronize()
    assert torch.equal(out, want)
