"""The vLLM backend's caches of 8 bits, as in test_vllm.py."""

import importlib.util
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

import oracle
import problems

torch = pytest.importorskip("torch")

from vllm_steps import (  # noqa: E402
    HEAD_SIZE, NUM_HEADS, NUM_KV_HEADS, backend, caches, common_of, config, integration, slots_of, step)

__all__ = ["backend"]  # a fixture

LENGTHS = [(1, 40), (9, 50), (5, 5), (0, 0)]
NUM_BLOCKS = len(step(LENGTHS)[0]["k_pages"])
FP8 = {"fp8": problems.E4M3, "fp8_e4m3": problems.E4M3, "fp8_e5m2": problems.E5M2}
HALF_ULP = {problems.E4M3: 2.0**-4, problems.E5M2: 2.0**-3}  # of a rounded value, relative


@dataclass
class Spec:
    """What of vLLM's description of a cache the backend reads."""

    head_size: int
    kv_quant_mode: SimpleNamespace
    state_content_bytes: int | None


def spec_of(is_per_token_head, state_content_bytes=None):
    return Spec(HEAD_SIZE, SimpleNamespace(is_per_token_head=is_per_token_head), state_content_bytes)


def layer_of(k_scale, v_scale):
    """Scales as vLLM's Attention has them: without dimensions, or a parameter with one a head."""
    per_head = isinstance(k_scale, list)
    make = (lambda x: torch.nn.Parameter(torch.tensor(x))) if per_head else torch.tensor
    return SimpleNamespace(_k_scale=make(k_scale), _v_scale=make(v_scale))


def write_and_read(backend, kv_cache_dtype, layer, cache):
    """A step whose keys and values all go through the cache: (problem, slots of its tokens, output)."""
    problem, _, _ = step(LENGTHS)
    tensors = problems.to_torch(problem)
    impl = backend.get_impl_cls()(NUM_HEADS, HEAD_SIZE, 0.125, NUM_KV_HEADS, kv_cache_dtype=kv_cache_dtype)
    past = slots_of(problem, [(0, k_len - q_len) for q_len, k_len in LENGTHS])
    new = slots_of(problem, [(k_len - q_len, k_len) for q_len, k_len in LENGTHS])
    for slots in (torch.tensor(past), torch.tensor([*new, -1, -1])):
        k, v = (tensors[name].flatten(0, 1)[slots] for name in ("k_pages", "v_pages"))
        impl.do_kv_cache_update(layer, k, v, cache, slots)
    builder = backend.get_builder_cls()(None, ["a"], config(), torch.device("cpu"))
    metadata = builder.build(0, common_of(tensors, None))
    q = tensors["q"]
    out = impl.forward(layer, q, None, None, cache, metadata, torch.empty_like(q))
    return problem, [*past, *new], problems.to_numpy(out)


def check_what_was_kept(problem, slots, out, stored, scales, half_ulp, smallest):
    """Holds the output to the oracle on what is stored, and what is stored to what was to be: `stored` and
    `scales` are those of K and V, by their names in the problem."""
    oracle.check({**problem, **stored, **scales}, out)
    for (name, pages), scale in zip(stored.items(), scales.values()):
        want = oracle.as_f64(problem[name]).reshape(-1, NUM_KV_HEADS, HEAD_SIZE)[slots]
        got = oracle.as_f64(pages).reshape(-1, NUM_KV_HEADS, HEAD_SIZE)[slots]
        scale = scale.reshape(-1, scale.shape[-1])
        scale = scale[slots if len(scale) > 1 else [0]][..., None]
        assert (np.abs(got * scale - want) <= half_ulp * np.abs(want) + smallest * scale).all()
    truth = oracle.attention(problem)[0]
    assert np.linalg.norm(oracle.as_f64(out) - truth) <= max(half_ulp, 2.0**-6) * np.linalg.norm(truth)


@pytest.mark.parametrize("layout", ["0.24", "0.24 head-major", "0.33", "0.33 head-major"])
@pytest.mark.parametrize("kv_cache_dtype", FP8)
@pytest.mark.parametrize("scales", [(1.0, 1.0), (0.02, 0.5), ([0.25, 0.01], [3.0, 0.125])])
def test_an_fp8_cache_is_written_and_read(backend, layout, kv_cache_dtype, scales):
    kind = FP8[kv_cache_dtype]
    layer = layer_of(*scales)
    cache, *pages = caches(layout, NUM_BLOCKS, torch.uint8)
    problem, slots, out = write_and_read(backend, kv_cache_dtype, layer, cache)
    stored = {f"{name}_pages": x.contiguous().numpy().view(kind) for name, x in zip("kv", pages)}
    scales = {"k_scale": layer._k_scale, "v_scale": layer._v_scale}
    scales = {name: x.detach().reshape(-1).numpy() for name, x in scales.items()}
    check_what_was_kept(problem, slots, out, stored, scales, HALF_ULP[kind], smallest=2.0**-10)


@pytest.mark.parametrize("layout", ["0.33", "0.33 head-major"])
@pytest.mark.parametrize("kv_cache_dtype, kind", [
    ("int8_per_token_head", np.dtype(np.int8)), ("fp8_per_token_head", problems.E4M3)])
def test_scales_by_token_lie_behind_k_and_v(backend, layout, kv_cache_dtype, kind):
    content = backend.customize_spec(spec_of(is_per_token_head=True)).state_content_bytes
    is_int8 = kind == np.int8
    cache, *pages = caches(layout, NUM_BLOCKS, torch.int8 if is_int8 else torch.uint8, content)
    problem, slots, out = write_and_read(backend, kv_cache_dtype, None, cache)
    stored = {f"{name}_pages": x.contiguous().numpy().view(kind) for name, x in zip("kv", pages)}
    behind = cache.transpose(1, 2)[..., 2 * HEAD_SIZE:].contiguous().numpy().view(np.float32)
    scales = {"k_token_scale": behind[..., 0], "v_token_scale": behind[..., 1]}
    half_ulp, smallest = (0, 0.5001) if is_int8 else (HALF_ULP[kind], 2.0**-10)
    check_what_was_kept(problem, slots, out, stored, scales, half_ulp, smallest)
    assert (cache[..., 2 * HEAD_SIZE + 8:] == 0x7F).all()  # padding


def test_pages_have_room_for_scales_by_token_only(backend):
    assert backend.customize_spec(spec_of(is_per_token_head=True)).state_content_bytes == 2 * HEAD_SIZE + 16
    for spec in (spec_of(is_per_token_head=False), spec_of(is_per_token_head=True, state_content_bytes=7)):
        assert backend.customize_spec(spec) is spec


@pytest.mark.parametrize("can_customize", [False, True])
def test_scales_by_token_are_offered_where_pages_have_room(monkeypatch, can_customize):
    """vLLM 0.24 knows the caches, but gives a backend no say in what lies in a page."""
    from vllm.v1.attention.backend import AttentionBackend
    if can_customize:
        monkeypatch.setattr(AttentionBackend, "customize_spec", lambda spec: spec, raising=False)
    else:
        monkeypatch.delattr(AttentionBackend, "customize_spec", raising=False)
    found = importlib.util.find_spec(integration.BACKEND.rpartition(".")[0])
    again = importlib.util.module_from_spec(found)
    found.loader.exec_module(again)
    offered = {"int8_per_token_head", "fp8_per_token_head"} & set(again.PagodaBackend.supported_kv_cache_dtypes)
    assert len(offered) == (2 if can_customize else 0)


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
