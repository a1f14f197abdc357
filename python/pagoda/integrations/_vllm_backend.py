"""The classes that vLLM asks for: backend, metadata builder, implementation. They fit the interface of
vLLM 0.24 and of 0.33, which differ in how a cache is described; its layout is read off its strides.

A step is planned once, by the first layer that computes it; the plan is kept in the step's metadata for
the other layers. So it is captured with the layers when vLLM captures a CUDA graph, and every replay
plans anew from the lengths that lie in vLLM's buffers then. Hence support for full graphs of any batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from vllm.config import CUDAGraphMode
from vllm.v1.attention.backend import (
    AttentionBackend,
    AttentionCGSupport,
    AttentionImpl,
    AttentionMetadata,
    AttentionMetadataBuilder,
    MultipleOf,
)

import pagoda
from pagoda import _frameworks

_MAX_HEAD_SIZE = 256
_HEAD_SIZE_MULTIPLE = 8
_CAPABILITY_MAJOR = 9  # Hopper: what the CUDA backend has kernels for
# What the bytes of a cache are, by vLLM's name of it: with the layer's scales, or with two of float32 that
# lie behind the K and V of every token and head.
_FP8_CACHES = {"fp8": torch.float8_e4m3fn, "fp8_e4m3": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}
_TOKEN_SCALED_CACHES = {"int8_per_token_head": torch.int8, "fp8_per_token_head": torch.float8_e4m3fn}
_TOKEN_SCALES_BYTES = 8
_ROW_ALIGNMENT = 16  # bytes, of K and V: what the CUDA backend wants
# Only where a backend can say what lies in a page: the rows of vLLM 0.24, head_size + 4 bytes, are not aligned.
_CAN_CUSTOMIZE_PAGES = hasattr(AttentionBackend, "customize_spec")


class PagodaBackend(AttentionBackend):
    supported_dtypes: ClassVar[list[torch.dtype]] = [torch.float16, torch.bfloat16]
    supported_kv_cache_dtypes: ClassVar[list[str]] = [
        "auto", "float16", "bfloat16", *_FP8_CACHES, *(_TOKEN_SCALED_CACHES if _CAN_CUSTOMIZE_PAGES else ())]
    # vLLM then calls do_kv_cache_update() before forward().
    forward_includes_kv_cache_update = False

    @staticmethod
    def get_name() -> str:
        return "CUSTOM"  # vLLM looks the enum's member up by it

    @staticmethod
    def get_impl_cls() -> type[PagodaImpl]:
        return PagodaImpl

    @staticmethod
    def get_builder_cls() -> type[PagodaMetadataBuilder]:
        return PagodaMetadataBuilder

    # vLLM 0.24 asks for a shape and its order in memory; 0.33 has one shape for all backends.
    @staticmethod
    def get_kv_cache_shape(num_blocks: int, block_size: int, num_kv_heads: int, head_size: int,
                           cache_dtype_str: str = "auto") -> tuple[int, ...]:
        return (num_blocks, 2, block_size, num_kv_heads, head_size)

    @staticmethod
    def get_kv_cache_stride_order(include_num_layers_dimension: bool = False) -> tuple[int, ...]:
        from vllm.v1.attention.backends.utils import get_kv_cache_layout
        if get_kv_cache_layout() == "HND":
            return (1, 4, 0, 2, 3, 5) if include_num_layers_dimension else (0, 1, 3, 2, 4)
        return (1, 0, 2, 3, 4, 5) if include_num_layers_dimension else (0, 1, 2, 3, 4)

    @classmethod
    def customize_spec(cls, spec: Any) -> Any:
        """Makes room for scales per token and head: [K | V | scale of K | scale of V | padding]."""
        if spec.state_content_bytes is not None or not spec.kv_quant_mode.is_per_token_head:
            return spec
        used = 2 * spec.head_size + _TOKEN_SCALES_BYTES
        return replace(spec, state_content_bytes=-(-used // _ROW_ALIGNMENT) * _ROW_ALIGNMENT)

    @staticmethod
    def get_supported_kernel_block_sizes(kv_cache_spec: Any = None) -> list[int | MultipleOf]:
        return [MultipleOf(1)]

    @classmethod
    def supports_head_size(cls, head_size: int) -> bool:
        return head_size % _HEAD_SIZE_MULTIPLE == 0 and head_size <= _MAX_HEAD_SIZE

    @classmethod
    def supports_compute_capability(cls, capability: Any) -> bool:
        return bool(capability.major == _CAPABILITY_MAJOR)

    @classmethod
    def supports_sink(cls) -> bool:
        return True

    @classmethod
    def supports_alibi_sqrt(cls) -> bool:
        return True

    @classmethod
    def supports_non_causal(cls) -> bool:
        return True

    @classmethod
    def supports_sliding_window(cls) -> bool:
        return True

    @classmethod
    def supports_per_head_quant_scales(cls) -> bool:
        return True

    @classmethod
    def supports_batch_invariance(cls) -> bool:
        return True


@dataclass
class PagodaMetadata(AttentionMetadata):
    """A step, as all layers of a group of caches see it."""

    batch: dict[str, Any]  # as pagoda.attention takes it
    builder: PagodaMetadataBuilder
    plans: dict[Any, Any] = field(default_factory=dict)


class PagodaMetadataBuilder(AttentionMetadataBuilder):
    _cudagraph_support: ClassVar[AttentionCGSupport] = AttentionCGSupport.ALWAYS

    def __init__(self, kv_cache_spec: Any, layer_names: list[str], vllm_config: Any,
                 device: torch.device) -> None:
        super().__init__(kv_cache_spec, layer_names, vllm_config, device)
        scheduler = vllm_config.scheduler_config
        self.limits = {"device": device, "max_num_tokens": scheduler.max_num_batched_tokens,
                       "max_num_seqs": scheduler.max_num_seqs,
                       "max_seqlen_k": vllm_config.model_config.max_model_len}
        self.workspaces: dict[Any, torch.Tensor] = {}
        self.policy: dict[str, Any] = {"split_policy": "fixed" if _wants_batch_invariance() else "balanced"}

    def build(self, common_prefix_len: int, common_attn_metadata: Any,
              fast_build: bool = False) -> PagodaMetadata:
        common = common_attn_metadata
        per_seq = isinstance(common.causal, torch.Tensor)
        return PagodaMetadata(
            batch={
                "cu_seqlens_q": common.query_start_loc,
                "seqused_k": common.seq_lens,
                "block_table": common.block_table_tensor,
                "max_seqlen_q": common.max_query_len,
                # A captured graph serves later steps: the bound of all steps, not of this one.
                "max_seqlen_k": self.limits["max_seqlen_k"],
                "causal": True if per_seq else bool(common.causal),
                "causal_per_seq": common.causal if per_seq else None,
                **self.policy,
            },
            builder=self)

    def build_for_cudagraph_capture(self, common_attn_metadata: Any) -> PagodaMetadata:
        """Graphs of decode steps are replayed with queries as long as those they are captured with; one
        graph for all batches of a size (cudagraph_mode FULL), with any."""
        metadata = self.build(0, common_attn_metadata)
        mode = self.vllm_config.compilation_config.cudagraph_mode
        if mode.mixed_mode() == CUDAGraphMode.FULL:
            metadata.batch["max_seqlen_q"] = common_attn_metadata.num_actual_tokens
        return metadata

    def workspace(self, key: Any, q: torch.Tensor, k_pages: torch.Tensor) -> torch.Tensor:
        """Of all steps' plans of one kind. They are in use at the same time, so kinds share none."""
        if key not in self.workspaces:
            limits = dict(self.limits, max_num_tokens=max(self.limits["max_num_tokens"], q.shape[0]))
            size = pagoda.workspace_size(**limits, **self.policy, num_q_heads=q.shape[1],
                                         num_kv_heads=k_pages.shape[2], head_dim=q.shape[2],
                                         kv_dtype=k_pages.dtype)
            self.workspaces[key] = torch.empty(size, dtype=torch.uint8, device=q.device)
        return self.workspaces[key]


def _wants_batch_invariance() -> bool:
    from vllm import envs
    return bool(getattr(envs, "VLLM_BATCH_INVARIANT", False))


class PagodaImpl(AttentionImpl):
    def __init__(self, num_heads: int, head_size: int, scale: float, num_kv_heads: int | None = None,
                 alibi_slopes: list[float] | None = None, sliding_window: int | None = None,
                 kv_cache_dtype: str = "auto", logits_soft_cap: float | None = None,
                 attn_type: str = "decoder", kv_sharing_target_layer_name: str | None = None,
                 sinks: torch.Tensor | None = None, use_alibi_sqrt: bool = False,
                 **ignored: Any) -> None:
        self.num_heads = num_heads
        self.head_size = head_size
        self.scale = float(scale)
        self.num_kv_heads = num_kv_heads or num_heads
        self.kv_cache_dtype = kv_cache_dtype
        self.quantised_dtype = (_FP8_CACHES | _TOKEN_SCALED_CACHES).get(kv_cache_dtype)
        self.has_token_scales = kv_cache_dtype in _TOKEN_SCALED_CACHES
        self.kv_sharing_target_layer_name = kv_sharing_target_layer_name
        self.window_left = (sliding_window or 0) - 1
        self.alibi_slopes = alibi_slopes
        self.options: dict[str, Any] = {
            "softmax_scale": self.scale, "logits_soft_cap": logits_soft_cap, "sinks": sinks,
            "window_left": self.window_left, "alibi_sqrt": bool(use_alibi_sqrt and alibi_slopes)}
        # Layers that agree in these share a plan.
        self.plan_key = (self.window_left, num_heads, self.num_kv_heads, head_size, kv_cache_dtype)
        self.cache: torch.Tensor | None = None
        self.pages: tuple[torch.Tensor, torch.Tensor] | None = None
        self.token_scales: dict[str, torch.Tensor] = {}

    def forward(self, layer: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
                kv_cache: torch.Tensor, attn_metadata: PagodaMetadata | None, output: torch.Tensor,
                output_scale: torch.Tensor | None = None,
                output_block_scale: torch.Tensor | None = None) -> torch.Tensor:
        """Fills output [num_tokens, num_heads, head_size]; rows of padding are left alone."""
        if output_scale is not None or output_block_scale is not None:
            raise NotImplementedError(
                "pagoda: output_scale, output_block_scale: got a tensor, want None: Pagoda's backend for "
                "vLLM does not offer fused output quantisation; turn off vLLM's pass fuse_attn_quant")
        if attn_metadata is None:  # a run to measure memory
            return output.fill_(0)
        if self.alibi_slopes is not None and "alibi_slopes" not in self.options:
            self.options["alibi_slopes"] = torch.tensor(self.alibi_slopes, dtype=torch.float32,
                                                        device=query.device)
        k_pages, v_pages = self.pages_of(kv_cache)
        scales = self.scales_of(layer)
        batch, plans = attn_metadata.batch, attn_metadata.plans
        # A plan made in a warm-up, before the capture with the same metadata, would not be in the graph.
        kind = (self.plan_key, _frameworks.is_capturing(query))
        plan = plans.get(kind)
        if plan is None:
            workspace = attn_metadata.builder.workspace(self.plan_key, query, k_pages)
            plan = plans[kind] = pagoda.plan(query, k_pages, v_pages, workspace=workspace, **batch,
                                             **self.options, **scales)
        pagoda.attention(query, k_pages, v_pages, out=output, plan=plan, **batch, **self.options, **scales)
        return output

    def do_kv_cache_update(self, layer: Any, key: torch.Tensor, value: torch.Tensor,
                           kv_cache: torch.Tensor, slot_mapping: torch.Tensor) -> None:
        """Writes the step's keys and values; a slot of -1 is skipped. key may have rows of padding."""
        num_tokens = slot_mapping.shape[0]
        if key.shape[0] != num_tokens:
            key, value = key[:num_tokens], value[:num_tokens]
        k_pages, v_pages = self.pages_of(kv_cache)
        pagoda.write_kv_cache(key, value, k_pages, v_pages, slot_mapping, **self.scales_of(layer))

    def pages_of(self, kv_cache: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """K and V as [num_pages, page_size, num_kv_heads, head_size], whatever lies in between. vLLM
        passes the same tensor every time, and views cost more than the call."""
        if self.pages is None or self.cache is not kv_cache:
            if kv_cache.dim() == 5:  # 0.24: [num_blocks, 2, block_size, num_kv_heads, head_size]
                k_pages, v_pages = kv_cache.unbind(1)
            else:  # 0.33: [num_blocks, num_kv_heads, block_size, 2 * head_size and what customize_spec adds]
                content = kv_cache.transpose(1, 2)
                k_pages, v_pages = content[..., :2 * self.head_size].chunk(2, dim=-1)
                if self.has_token_scales:
                    scales = content[..., 2 * self.head_size:][..., :_TOKEN_SCALES_BYTES].view(torch.float32)
                    self.token_scales = {"k_token_scale": scales[..., 0], "v_token_scale": scales[..., 1]}
            if self.quantised_dtype is not None:
                k_pages, v_pages = k_pages.view(self.quantised_dtype), v_pages.view(self.quantised_dtype)
            self.cache, self.pages = kv_cache, (k_pages, v_pages)
        return self.pages

    def scales_of(self, layer: Any) -> dict[str, Any]:
        """Those of the tokens, which lie in the pages, or the layer's: tensors on the device, of one element
        or [num_kv_heads]. Read at every call: vLLM may put others in their place when it loads weights."""
        if self.has_token_scales:
            return self.token_scales
        return {} if self.quantised_dtype is None else {"k_scale": layer._k_scale, "v_scale": layer._v_scale}
