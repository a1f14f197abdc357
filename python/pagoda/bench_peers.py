"""What python -m pagoda bench measures, Pagoda and others: each makes a Call of a batch, with all that can
be prepared done before."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

import pagoda

if TYPE_CHECKING:
    from .bench import Batch

@dataclass
class Call:
    run: Callable[[], Any]  # what is timed
    # of what it returns: [num_tokens, num_q_heads, head_dim]
    result: Callable[[Any], torch.Tensor] = lambda out: out


def call_of_pagoda(batch: Batch) -> Call:
    out = torch.empty_like(batch.q)
    step: dict[str, Any] = {
        "cu_seqlens_q": batch.starts, "seqused_k": batch.seqused_k, "block_table": batch.block_table,
        "max_seqlen_q": batch.max_q, "max_seqlen_k": batch.max_k}
    plan = pagoda.plan(batch.q, batch.k_pages, batch.v_pages, **step)
    return Call(
        lambda: pagoda.attention(batch.q, batch.k_pages, batch.v_pages, **step, plan=plan, out=out))


@dataclass
class _Group:
    """Sequences of equal lengths, out of their pages."""

    tokens: torch.Tensor  # [sequences, q_len] of the batch
    q: torch.Tensor  # this and K and V: [sequences, heads, tokens, head_dim]
    k: torch.Tensor
    v: torch.Tensor

    @property
    def past(self) -> int:
        return self.k.shape[2] - self.q.shape[2]


def _groups(batch: Batch) -> list[_Group]:
    first = 0
    rows: dict[tuple[int, int], list[Any]] = {}
    for seq, (q_len, k_len) in enumerate(batch.lengths):
        ids = batch.block_table[seq, :-(-k_len // batch.shape.page_size)].long()
        k, v = (pages[ids].flatten(0, 1)[:k_len] for pages in (batch.k_pages, batch.v_pages))
        tokens = torch.arange(first, first + q_len, device=batch.q.device)
        rows.setdefault((q_len, k_len), []).append((tokens, batch.q[tokens], k, v))
        first += q_len
    groups = []
    for members in rows.values():
        tokens, *qkv = (torch.stack(x) for x in zip(*members, strict=True))
        groups.append(_Group(tokens, *(x.transpose(1, 2).contiguous() for x in qkv)))
    return groups


def _call_of_groups(batch: Batch, groups: list[_Group], calls: list[Callable[[], torch.Tensor]]) -> Call:
    def result(outs: list[torch.Tensor]) -> torch.Tensor:
        packed = torch.empty_like(batch.q)
        for group, out in zip(groups, outs, strict=True):
            packed[group.tokens] = out.transpose(1, 2)
        return packed
    return Call(lambda: [call() for call in calls], result)


def call_of_sdpa(batch: Batch) -> Call:
    """torch's attention on K and V that were gathered before, equal sequences in one call."""
    from torch.nn.functional import scaled_dot_product_attention

    def call_of(group: _Group) -> Callable[[], torch.Tensor]:
        q_len, k_len = group.q.shape[2], group.k.shape[2]
        mask = None
        if 1 < q_len < k_len:
            mask = torch.ones(q_len, k_len, dtype=torch.bool, device=group.q.device).tril(group.past)
        return lambda: scaled_dot_product_attention(
            group.q, group.k, group.v, attn_mask=mask, is_causal=q_len == k_len > 1, enable_gqa=True)

    groups = _groups(batch)
    return _call_of_groups(batch, groups, [call_of(group) for group in groups])


def call_of_flex(batch: Batch) -> Call:
    """torch's FlexAttention, compiled for each length, on K and V that were gathered before."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    compiled = torch.compile(flex_attention, dynamic=False)

    def call_of(group: _Group) -> Callable[[], torch.Tensor]:
        past = group.past

        def is_visible(_batch: Any, _head: Any, row: Any, key: Any) -> Any:
            return key <= row + past

        mask = create_block_mask(is_visible, None, None, group.q.shape[2], group.k.shape[2],
                                 device=str(group.q.device))
        return lambda: compiled(group.q, group.k, group.v, block_mask=mask, enable_gqa=True)

    groups = _groups(batch)
    return _call_of_groups(batch, groups, [call_of(group) for group in groups])


def call_of_unified(function: Callable[..., Any], batch: Batch) -> Call:
    """A function with the seed's signature."""
    out = torch.empty_like(batch.q)
    ones = torch.ones(len(batch.lengths), batch.shape.num_kv_heads, device=batch.q.device)
    return Call(lambda: (function(
        q=batch.q, k=batch.k_pages, v=batch.v_pages, out=out, cu_seqlens_q=batch.starts,
        max_seqlen_q=batch.max_q, seqused_k=batch.seqused_k, max_seqlen_k=batch.max_k,
        softmax_scale=batch.shape.head_dim**-0.5, causal=True, window_size=(-1, -1),
        block_table=batch.block_table, softcap=0.0, q_descale=None, k_descale=ones, v_descale=ones), out)[1])


def call_of_vllm(batch: Batch) -> Call:
    from vllm.v1.attention.ops.triton_unified_attention import unified_attention
    return call_of_unified(unified_attention, batch)


def call_of_flash_attn(batch: Batch) -> Call:
    from flash_attn import flash_attn_varlen_func
    starts_k = torch.nn.functional.pad(batch.seqused_k.cumsum(0), (1, 0)).to(torch.int32)
    return Call(lambda: flash_attn_varlen_func(
        batch.q, batch.k_pages, batch.v_pages, cu_seqlens_q=batch.starts, cu_seqlens_k=starts_k,
        max_seqlen_q=batch.max_q, max_seqlen_k=batch.max_k, causal=True, block_table=batch.block_table))


def call_of_flashinfer(batch: Batch) -> Call:
    """FlashInfer's kernel for mixed batches."""
    import flashinfer
    shape = batch.shape
    pages = [-(-k // shape.page_size) for _, k in batch.lengths]
    starts = torch.tensor([0, *pages], dtype=torch.int32).cumsum(0).to(shape.device, torch.int32)
    ids = torch.cat([batch.block_table[seq, :count] for seq, count in enumerate(pages)])
    kernel, out = flashinfer.BatchAttention("NHD"), torch.empty_like(batch.q)
    kernel.plan(batch.starts, starts, ids, batch.seqused_k, shape.num_q_heads, shape.num_kv_heads,
                shape.head_dim, shape.head_dim, shape.page_size, causal=True,
                sm_scale=shape.head_dim**-0.5, q_data_type=shape.dtype, kv_data_type=shape.dtype)
    return Call(lambda: (kernel.run(batch.q, (batch.k_pages, batch.v_pages), out=out), out)[1])


PEERS: dict[str, Callable[[Batch], Call]] = {
    "sdpa": call_of_sdpa, "flex": call_of_flex, "vllm": call_of_vllm, "flash_attn": call_of_flash_attn,
    "flashinfer": call_of_flashinfer}
# That peers need beside torch.
MODULES = {"vllm": "vllm", "flash_attn": "flash_attn", "flashinfer": "flashinfer"}


def load_seed(path: str) -> Callable[..., Any]:
    """The function of the kernel that was published in one file."""
    spec = importlib.util.spec_from_file_location("pagoda_bench_seed", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"seed: got {path}, wants a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.unified_attention


def seed_peer(path: str) -> Callable[[Batch], Call]:
    function = load_seed(path)
    return lambda batch: call_of_unified(function, batch)
