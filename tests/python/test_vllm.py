"""The vLLM backend against stand-ins for vLLM's abstract classes, or against vLLM itself where it is
installed. The engine is not run here; see docs/python.md."""

import numpy as np
import pagoda
import pytest

import oracle
import problems

torch = pytest.importorskip("torch")

from vllm_steps import (  # noqa: E402
    BLOCK, HEAD_SIZE, NUM_HEADS, NUM_KV_HEADS, backend, caches, common_of, config, step)

__all__ = ["backend"]  # a fixture


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
    assert {"auto", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"} <= set(backend.supported_kv_cache_dtypes)
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
