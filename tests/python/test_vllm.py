"""The vLLM backend against stand-ins for vLLM's abstract classes, or against vLLM itself where it is
installed. The engine is not run here; see docs/python.md."""

import importlib
import pathlib
import sys
from types import SimpleNamespace

import numpy as np
import pagoda
import pytest

import oracle
import problems
from problems import BF16

torch = pytest.importorskip("torch")

try:
    import vllm.v1.attention.backend  # noqa: F401
except ImportError:
    sys.path.insert(0, str(pathlib.Path(__file__).parent / "vllm_stub"))
    for name in [n for n in sys.modules if n.partition(".")[0] == "vllm"]:
        del sys.modules[name]

from pagoda.integrations import vllm as integration  # noqa: E402

HEAD_SIZE, NUM_HEADS, NUM_KV_HEADS, BLOCK = 64, 4, 2, 16


@pytest.fixture(scope="module")
def backend():
    integration.register()
    integration.register()
    module, _, name = integration.BACKEND.rpartition(".")
    return getattr(importlib.import_module(module), name)


def config(graphs="FULL_AND_PIECEWISE"):
    from vllm.config import CUDAGraphMode
    return SimpleNamespace(
        scheduler_config=SimpleNamespace(max_num_batched_tokens=64, max_num_seqs=8),
        model_config=SimpleNamespace(max_model_len=128),
        compilation_config=SimpleNamespace(cudagraph_mode=CUDAGraphMode[graphs]))


def caches(layout, num_blocks, dtype=torch.bfloat16):
    """(cache as vLLM passes it, K pages, V pages), all of it NaN; bytes are fp8 of either kind"""
    nan = 0x7F if dtype == torch.uint8 else float("nan")
    if layout == "0.24":
        cache = torch.full((num_blocks, 2, BLOCK, NUM_KV_HEADS, HEAD_SIZE), nan, dtype=dtype)
        return cache, cache[:, 0], cache[:, 1]
    if layout == "0.24 head-major":
        cache = torch.full((num_blocks, 2, NUM_KV_HEADS, BLOCK, HEAD_SIZE), nan, dtype=dtype).transpose(2, 3)
        return cache, cache[:, 0], cache[:, 1]
    shape = (num_blocks, BLOCK, NUM_KV_HEADS, 2 * HEAD_SIZE)  # token-major in memory
    cache = torch.full(shape, nan, dtype=dtype).transpose(1, 2)
    view = cache.transpose(1, 2)
    if layout == "0.33 head-major":
        cache = cache.contiguous()
        view = cache.transpose(1, 2)
    return cache, view[..., :HEAD_SIZE], view[..., HEAD_SIZE:]


def step(lengths, padding=0):
    """(problem, fused qkv rows [num_tokens + padding], slot mapping)"""
    problem = problems.make(5, lengths, head_dim=HEAD_SIZE, page_size=BLOCK, group=2)
    num_tokens = len(problem["q"])
    rng = np.random.default_rng(6)
    qkv = problems.random_values(rng, (num_tokens + padding, NUM_HEADS + 2 * NUM_KV_HEADS, HEAD_SIZE), BF16)
    slots = slots_of(problem, [(k_len - q_len, k_len) for q_len, k_len in lengths])
    return problem, qkv, np.array([*slots, *[-1] * padding], np.int64)


def slots_of(problem, ranges):
    """Of each sequence's tokens from `first` to `last`."""
    slots = []
    for seq, (first, last) in enumerate(ranges):
        tokens = np.arange(first, last)
        slots.extend(problem["block_table"][seq, tokens // BLOCK].astype(np.int64) * BLOCK + tokens % BLOCK)
    return slots


def common_of(tensors, slots, causal=True):
    return SimpleNamespace(
        query_start_loc=tensors["cu_seqlens_q"], seq_lens=tensors["seqused_k"],
        block_table_tensor=tensors["block_table"], slot_mapping=slots, causal=causal,
        num_reqs=len(tensors["seqused_k"]), num_actual_tokens=int(tensors["cu_seqlens_q"][-1]),
        max_query_len=int(tensors["cu_seqlens_q"].diff().max()), max_seq_len=99)


@pytest.mark.parametrize("layout", ["0.24", "0.24 head-major", "0.33", "0.33 head-major"])
@pytest.mark.parametrize("options", [
    {}, {"sliding_window": 9, "logits_soft_cap": 20.0},
    {"sinks": torch.tensor([0.5, -1.0, 2.0, 0.0]), "alibi_slopes": [0.1, 0.2, 0.3, 0.4]}])
def test_a_step_through_two_layers(backend, layout, options, monkeypatch):
    lengths = [(1, 40), (9, 50), (5, 5), (0, 0)]
    problem, qkv, slots = step(lengths, padding=3)
    tensors = problems.to_torch(problem)
    fused, slots = problems.to_torch({"qkv": qkv})["qkv"], torch.from_numpy(slots)
    q, k, v = fused.split([NUM_HEADS, NUM_KV_HEADS, NUM_KV_HEADS], dim=1)  # strided, as vLLM's are
    impl = backend.get_impl_cls()(NUM_HEADS, HEAD_SIZE, 0.25, NUM_KV_HEADS, **options)
    builder = backend.get_builder_cls()(None, ["a", "b"], config(), torch.device("cpu"))
    metadata = builder.build(0, common_of(tensors, slots))
    plans = []
    plan = pagoda.plan
    monkeypatch.setattr(pagoda, "plan", lambda *a, **o: plans.append(1) or plan(*a, **o))
    for _ in range(2):
        cache, k_pages, v_pages = caches(layout, len(problem["k_pages"]))
        k_pages.copy_(tensors["k_pages"])
        v_pages.copy_(tensors["v_pages"])
        impl.do_kv_cache_update(None, k, v, cache, slots[:len(problem["q"])])
        out = torch.full((len(fused), NUM_HEADS, HEAD_SIZE), 7.0, dtype=torch.bfloat16)
        assert impl.forward(None, q, k, v, cache, metadata, out) is out
        assert (out[len(problem["q"]):] == 7).all()
        meaning = {"softmax_scale": 0.25, "window_left": options.get("sliding_window", 0) - 1,
                   "logits_soft_cap": options.get("logits_soft_cap", 0.0)}
        if "sinks" in options:
            meaning |= {"sinks": options["sinks"].numpy(),
                        "alibi_slopes": np.float32(options["alibi_slopes"])}
        oracle.check({**problem, "q": problems.to_numpy(q.contiguous())[:len(problem["q"])],
                      "k_pages": problems.to_numpy(k_pages.contiguous()),
                      "v_pages": problems.to_numpy(v_pages.contiguous()), **meaning},
                     problems.to_numpy(out)[:len(problem["q"])])
    assert len(plans) == 1


FP8 = {"fp8": problems.E4M3, "fp8_e4m3": problems.E4M3, "fp8_e5m2": problems.E5M2}
HALF_ULP = {problems.E4M3: 2.0**-4, problems.E5M2: 2.0**-3}  # of a rounded value, relative


def layer_of(k_scale, v_scale):
    """Scales as vLLM's Attention has them: without dimensions, or a parameter with one a head."""
    per_head = isinstance(k_scale, list)
    make = (lambda x: torch.nn.Parameter(torch.tensor(x))) if per_head else torch.tensor
    return SimpleNamespace(_k_scale=make(k_scale), _v_scale=make(v_scale))


@pytest.mark.parametrize("layout", ["0.24", "0.24 head-major", "0.33", "0.33 head-major"])
@pytest.mark.parametrize("kv_cache_dtype", FP8)
@pytest.mark.parametrize("scales", [(1.0, 1.0), (0.02, 0.5), ([0.25, 0.01], [3.0, 0.125])])
def test_an_fp8_cache_is_written_and_read(backend, layout, kv_cache_dtype, scales):
    """Held to the oracle on what is stored, and to the oracle on what was to be stored."""
    stored = FP8[kv_cache_dtype]
    lengths = [(1, 40), (9, 50), (5, 5), (0, 0)]
    problem, _, _ = step(lengths)
    tensors = problems.to_torch(problem)
    impl = backend.get_impl_cls()(NUM_HEADS, HEAD_SIZE, 0.125, NUM_KV_HEADS, kv_cache_dtype=kv_cache_dtype)
    layer = layer_of(*scales)
    cache, k_bytes, v_bytes = caches(layout, len(problem["k_pages"]), torch.uint8)
    past = slots_of(problem, [(0, k_len - q_len) for q_len, k_len in lengths])
    new = slots_of(problem, [(k_len - q_len, k_len) for q_len, k_len in lengths])
    for slots in (torch.tensor(past), torch.tensor([*new, -1, -1])):
        k, v = (tensors[name].flatten(0, 1)[slots] for name in ("k_pages", "v_pages"))
        impl.do_kv_cache_update(layer, k, v, cache, slots)
    builder = backend.get_builder_cls()(None, ["a"], config(), torch.device("cpu"))
    metadata = builder.build(0, common_of(tensors, None))
    q = tensors["q"]
    out = impl.forward(layer, q, None, None, cache, metadata, torch.empty_like(q))

    read = {**problem}
    for name, pages, scale in (("k", k_bytes, layer._k_scale), ("v", v_bytes, layer._v_scale)):
        pages, scale = pages.contiguous().numpy().view(stored), scale.detach().reshape(-1).numpy()
        read |= {f"{name}_pages": pages, f"{name}_scale": scale}
        slots = [*past, *new]
        want = oracle.as_f64(problem[f"{name}_pages"]).reshape(-1, NUM_KV_HEADS, HEAD_SIZE)[slots]
        got = oracle.as_f64(pages).reshape(-1, NUM_KV_HEADS, HEAD_SIZE)[slots] * scale[:, None]
        smallest = scale[:, None] * 2.0**-10  # half an ulp of e4m3's subnormals, the wider ones
        assert (np.abs(got - want) <= HALF_ULP[stored] * np.abs(want) + smallest).all()
    oracle.check(read, problems.to_numpy(out))
    truth = oracle.attention(problem)[0]
    error = oracle.as_f64(problems.to_numpy(out)) - truth
    assert np.linalg.norm(error) <= HALF_ULP[stored] * np.linalg.norm(truth)


def test_a_layer_without_quantisation_plans_apart(backend):
    """Both may lie in one group of caches: vLLM lets layers opt out."""
    problem, _, _ = step([(1, 40)])
    tensors = problems.to_torch(problem)
    builder = backend.get_builder_cls()(None, ["a", "b"], config(), torch.device("cpu"))
    metadata = builder.build(0, common_of(tensors, None))
    for kv_cache_dtype in ("auto", "fp8"):
        impl = backend.get_impl_cls()(NUM_HEADS, HEAD_SIZE, 0.125, NUM_KV_HEADS,
                                      kv_cache_dtype=kv_cache_dtype)
        kind = torch.bfloat16 if kv_cache_dtype == "auto" else torch.uint8
        cache = caches("0.24", len(problem["k_pages"]), kind)[0].zero_()
        impl.forward(layer_of(1.0, 1.0), tensors["q"], None, None, cache, metadata,
                     torch.empty_like(tensors["q"]))
    assert len(metadata.plans) == 2


def test_fused_output_quantisation_is_refused(backend):
    impl = backend.get_impl_cls()(NUM_HEADS, HEAD_SIZE, 0.125, NUM_KV_HEADS)
    for name in ("output_scale", "output_block_scale"):
        with pytest.raises(NotImplementedError, match="fused output quantisation"):
            impl.forward(None, None, None, None, None, None, None, **{name: torch.ones(1)})


def test_layers_with_other_windows_plan_apart(backend):
    problem, qkv, slots = step([(1, 40), (3, 60)])
    tensors = problems.to_torch(problem)
    q = problems.to_torch({"q": problem["q"]})["q"]
    builder = backend.get_builder_cls()(None, ["a", "b"], config(), torch.device("cpu"))
    metadata = builder.build(0, common_of(tensors, None))
    cache, k_pages, v_pages = caches("0.24", len(problem["k_pages"]))
    k_pages.copy_(tensors["k_pages"])
    v_pages.copy_(tensors["v_pages"])
    outs = {}
    impls = {w: backend.get_impl_cls()(NUM_HEADS, HEAD_SIZE, 0.125, NUM_KV_HEADS, sliding_window=w)
             for w in (None, 8)}
    for _ in range(2):
        for window, impl in impls.items():
            outs[window] = impl.forward(None, q, q, q, cache, metadata, torch.empty_like(q))
    assert len(metadata.plans) == len(builder.workspaces) == 2
    for window, out in outs.items():
        oracle.check({**problem, "window_left": (window or 0) - 1}, problems.to_numpy(out))


def test_a_capture_plans_anew(backend, monkeypatch):
    """A graph's replays see other lengths, so its plan must be made inside it, whatever a warm-up with the
    same metadata has made before."""
    problem, _, _ = step([(1, 40)])
    tensors = problems.to_torch(problem)
    builder = backend.get_builder_cls()(None, ["a"], config(), torch.device("cpu"))
    metadata = builder.build(0, common_of(tensors, None))
    cache, k_pages, v_pages = caches("0.24", len(problem["k_pages"]))
    impl = backend.get_impl_cls()(NUM_HEADS, HEAD_SIZE, 0.125, NUM_KV_HEADS)
    plans = []
    plan = pagoda.plan
    monkeypatch.setattr(pagoda, "plan", lambda *a, **o: plans.append(1) or plan(*a, **o))
    for capturing, count in ((False, 1), (False, 1), (True, 2), (True, 2)):
        monkeypatch.setattr("pagoda._frameworks.is_capturing", lambda _, now=capturing: now)
        impl.forward(None, tensors["q"], None, None, cache, metadata, torch.empty_like(tensors["q"]))
        assert len(plans) == count


@pytest.mark.parametrize("graphs, longest", [("FULL_AND_PIECEWISE", 1), ("FULL_DECODE_ONLY", 1), ("FULL", 8)])
def test_a_graph_is_captured_for_the_longest_queries_it_may_see(backend, graphs, longest):
    tensors = problems.to_torch(step([(1, 5)] * 8)[0])
    builder = backend.get_builder_cls()(None, ["a"], config(graphs), torch.device("cpu"))
    common = common_of(tensors, None)
    common.max_query_len = 1
    assert builder.build(0, common).batch["max_seqlen_q"] == 1
    assert builder.build_for_cudagraph_capture(common).batch["max_seqlen_q"] == longest


def test_causal_by_sequence(backend):
    problem, _, _ = step([(3, 40), (5, 20)])
    tensors = problems.to_torch(problem)
    builder = backend.get_builder_cls()(None, ["a"], config(), torch.device("cpu"))
    flags = torch.tensor([False, True])
    metadata = builder.build(0, common_of(tensors, None, causal=flags))
    cache, k_pages, v_pages = caches("0.24", len(problem["k_pages"]))
    k_pages.copy_(tensors["k_pages"])
    v_pages.copy_(tensors["v_pages"])
    impl = backend.get_impl_cls()(NUM_HEADS, HEAD_SIZE, 0.125, NUM_KV_HEADS)
    out = impl.forward(None, tensors["q"], None, None, cache, metadata, torch.empty_like(tensors["q"]))
    oracle.check({**problem, "causal_per_seq": np.uint8([0, 1])}, problems.to_numpy(out))


def test_a_run_to_measure_memory(backend):
    impl = backend.get_impl_cls()(NUM_HEADS, HEAD_SIZE, 0.125, NUM_KV_HEADS)
    out = torch.ones(3, NUM_HEADS, HEAD_SIZE)
    assert (impl.forward(None, None, None, None, torch.empty(0), None, out) == 0).all()


def test_what_it_says_of_itself(backend):
    from vllm.v1.attention.backend import AttentionCGSupport
    from vllm.v1.attention.backends.registry import AttentionBackendEnum
    assert AttentionBackendEnum[backend.get_name()] is AttentionBackendEnum.CUSTOM
    assert backend.get_builder_cls()._cudagraph_support is AttentionCGSupport.ALWAYS
    assert backend.supports_head_size(72) and not backend.supports_head_size(260)
    assert backend.supports_sliding_window() and backend.supports_sink()
    assert {"auto", "bfloat16", *FP8} <= set(backend.supported_kv_cache_dtypes)
    assert backend.supports_per_head_quant_scales()
    assert backend.get_supported_kernel_block_sizes(kv_cache_spec=None)


@pytest.mark.parametrize("layout, in_memory", [
    ("NHD", [10, "layers", 2, BLOCK, NUM_KV_HEADS, HEAD_SIZE]),
    ("HND", [10, NUM_KV_HEADS, "layers", 2, BLOCK, HEAD_SIZE])])
def test_the_cache_lies_as_vllm_is_told(backend, monkeypatch, layout, in_memory):
    utils = pytest.importorskip("vllm.v1.attention.backends.utils", exc_type=ImportError)
    monkeypatch.setattr(utils, "get_kv_cache_layout", lambda: layout)
    shape = backend.get_kv_cache_shape(10, BLOCK, NUM_KV_HEADS, HEAD_SIZE)
    order = backend.get_kv_cache_stride_order(include_num_layers_dimension=True)
    assert [("layers", *shape)[axis] for axis in order] == in_memory
    in_memory.remove("layers")
    assert [shape[axis] for axis in backend.get_kv_cache_stride_order()] == in_memory


def test_batch_invariance(backend, monkeypatch):
    from vllm import envs
    monkeypatch.setattr(envs, "VLLM_BATCH_INVARIANT", True, raising=False)
    builder = backend.get_builder_cls()(None, ["a"], config(), torch.device("cpu"))
    tensors = problems.to_torch(step([(1, 5)])[0])
    assert builder.build(0, common_of(tensors, None)).batch["split_policy"] == "fixed"
