"""The contract's operations on KV caches, on tensors of any framework."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _pagoda
from .ops import operations

if TYPE_CHECKING:
    from typing import Unpack

    from ._pagoda import CacheTensor
    from .options import Execution, KvLayout, Tensor


@dataclass(frozen=True)
class KvCache:
    """A KV cache in host memory, as make_kv_cache() makes it. Pagoda's calls take its tensors as they
    are; torch.from_dlpack() and numpy.asarray() see the same memory, which lives as long as any of
    them."""

    k_pages: CacheTensor  # [num_pages, page_size, num_kv_heads, head_dim]
    v_pages: CacheTensor
    k_token_scale: CacheTensor | None  # float32 [num_pages, page_size, num_kv_heads]
    v_token_scale: CacheTensor | None


def make_kv_cache(
    *,
    num_pages: int,
    num_kv_heads: int,
    head_dim: int,
    dtype: Any = "bfloat16",
    page_size: int = 64,
    layout: KvLayout = "hnd",
    token_scales: bool = False,
) -> KvCache:
    """Pages of K and V in host memory, zeroed, laid out as CPUs read them fastest: head-major pages of
    64 tokens, on a 2 MB boundary, with huge pages advised.

    Args:
      dtype: float32, float16, bfloat16, float8_e4m3, float8_e5m2 or int8, by name or as torch's or
        NumPy's.
      num_pages, page_size, num_kv_heads, head_dim: the extents of both tensors; head_dim is a multiple
        of 8.
      layout: "hnd" (head-major) or "nhd" (token-major); the tensors' shapes are the same.
      token_scales: with float32 scales per token and head, for fp8; int8 pages always have them.

    Raises: ValueError: an extent, type or layout that it cannot have, or more memory than there is.
    """
    return KvCache(*_pagoda.make_kv_cache(
        num_pages=num_pages, num_kv_heads=num_kv_heads, head_dim=head_dim, dtype=dtype,
        page_size=page_size, layout=layout, token_scales=token_scales))


def write_kv_cache(
    k: Tensor,
    v: Tensor,
    k_pages: Tensor,
    v_pages: Tensor,
    slot_mapping: Tensor,
    *,
    k_scale: Tensor = None,
    v_scale: Tensor = None,
    k_token_scale: Tensor = None,
    v_token_scale: Tensor = None,
    rope_cos_sin: Tensor = None,
    rope_positions: Tensor = None,
    rope_interleaved: bool = False,
    rope_q: Tensor = None,
    dtype: Any = None,
    **execution: Unpack[Execution],
) -> None:
    """Writes new tokens into pages, quantising where the pages are quantised.

    Args:
      k, v: [num_tokens, num_kv_heads, head_dim] float32, float16 or bfloat16; strides free but for the
        last. `dtype` says what uint16 elements are.
      k_pages, v_pages: [num_pages, page_size, num_kv_heads, head_dim] of k's type, fp8 or int8.
      slot_mapping: int64 [num_tokens]: token j goes to page slot // page_size, offset
        slot % page_size; a negative slot skips it.
      k_scale, v_scale: float32, one element or [num_kv_heads]: stored = round(value / scale).
      k_token_scale, v_token_scale: float32 [num_pages, page_size, num_kv_heads], computed and stored
        per token and head.
      rope_cos_sin: [max_position, rotary_dim], cosines before sines: rotates k on its way, and rope_q
        [num_tokens, num_q_heads, head_dim] in place, by rope_positions, int64 [num_tokens]. Without
        it the other arguments of rope are an error. rope_interleaved: pairs lie side by side, not half a
        rotary_dim apart.

    What is written (pages, token scales, rope_q) must not overlap another argument.

    Raises: as attention() does; with `checked` (CPU) ValueError too for a slot or position that there is
    not, and nothing is written then.
    """
    operations(k).write_kv_cache(
        k, v, k_pages, v_pages, slot_mapping, k_scale=k_scale, v_scale=v_scale,
        k_token_scale=k_token_scale, v_token_scale=v_token_scale, rope_cos_sin=rope_cos_sin,
        rope_positions=rope_positions, rope_interleaved=rope_interleaved, rope_q=rope_q, dtype=dtype,
        **execution)


def gather_kv_cache(
    k_pages: Tensor,
    v_pages: Tensor,
    k_out: Tensor,
    v_out: Tensor,
    *,
    cu_seqlens_k: Tensor,
    seq_starts: Tensor = None,
    block_table: Tensor = None,
    page_indptr: Tensor = None,
    page_indices: Tensor = None,
    k_scale: Tensor = None,
    v_scale: Tensor = None,
    k_token_scale: Tensor = None,
    v_token_scale: Tensor = None,
    out_dtype: Any = None,
    **execution: Unpack[Execution],
) -> None:
    """Copies each sequence's tokens from pages to contiguous rows, dequantising where k_out and v_out
    are float32, float16 or bfloat16 and the pages are not.

    Args:
      k_pages, v_pages: [num_pages, page_size, num_kv_heads, head_dim].
      k_out, v_out: [num_rows, num_kv_heads, head_dim]; they must not overlap each other or the pages.
      cu_seqlens_k: int32 [num_seqs + 1]: where a sequence's rows lie.
      seq_starts: int32 [num_seqs]: which of its tokens comes first, 0 if not given.
      block_table, or page_indptr and page_indices: as attention() takes them, int32.
      k_scale, v_scale, k_token_scale, v_token_scale: float32, as attention() takes them.
      out_dtype: what uint16 elements of k_out and v_out are.

    Raises: as attention() does.
    """
    operations(k_pages).gather_kv_cache(
        k_pages, v_pages, k_out, v_out, cu_seqlens_k=cu_seqlens_k, seq_starts=seq_starts,
        block_table=block_table, page_indptr=page_indptr, page_indices=page_indices, k_scale=k_scale,
        v_scale=v_scale, k_token_scale=k_token_scale, v_token_scale=v_token_scale,
        out_dtype=out_dtype, **execution)


def copy_pages(source: Tensor, destination: Tensor, page_pairs: Tensor,
               **execution: Unpack[Execution]) -> None:
    """Copies page page_pairs[i][0] of source to page page_pairs[i][1] of destination, within a device.

    page_pairs is int64 [num_pairs, 2], on the device. No page may be written by two pairs, nor, within
    one tensor, be both read and written; `checked` finds such pairs (CPU). source and destination
    [num_pages, ...] have one shape but for num_pages, and one type.

    Raises: as attention() does.
    """
    _pagoda.copy_pages(source, destination, page_pairs, **execution)


def swap_pages(source: Tensor, destination: Tensor, page_pairs: Tensor,
               **execution: Unpack[Execution]) -> None:
    """copy_pages() between two devices, or a device and the host: source and destination are as there,
    page_pairs int64 [num_pairs, 2] lies in host memory. Raises: as attention() does."""
    _pagoda.swap_pages(source, destination, page_pairs, **execution)
