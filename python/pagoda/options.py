"""The options of a call, for type checkers and readers. The extension's own tables decide; a test holds
this file to them."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

# A tensor of torch, NumPy (ml_dtypes included) or CuPy, or any object that speaks DLPack or the buffer
# protocol. None stands for an option that is not given.
Tensor = Any

LseLayout = Literal["heads_tokens", "tokens_heads"]
KvLayout = Literal["hnd", "nhd"]
SplitPolicy = Literal["balanced", "fixed"]


class Problem(TypedDict, total=False):
    """What attention computes, besides q, k_pages and v_pages."""

    # The batch.
    cu_seqlens_q: Tensor  # int32 [num_seqs + 1], required: where each sequence's rows begin in q
    seqused_k: Tensor  # int32 [num_seqs], required: KV lengths, this step's tokens included
    block_table: Tensor  # int32 [num_seqs, max_pages], or
    page_indptr: Tensor  # int32 [num_seqs + 1] and
    page_indices: Tensor  # int32 [num_page_entries], the same in CSR form
    # Or no pages: k_pages and v_pages are rows, [num_rows, num_kv_heads, head_dim], and this is int32
    # [num_seqs], the row of each sequence's first key. cu_seqlens_k[:-1] is one.
    kv_starts: Tensor
    max_seqlen_q: int | None  # upper bound of query lengths; 0 = num_tokens
    max_seqlen_k: int | None  # upper bound of KV lengths; 0 = what the block table can hold

    # Scores, in the order in which they are applied.
    softmax_scale: float | None  # 0 = 1 / sqrt(head_dim)
    logits_soft_cap: float | None  # x = c * tanh(x / c); 0 = off
    alibi_slopes: Tensor  # float32 [num_q_heads]: x += slope * (t - p)
    alibi_sqrt: bool  # x -= slope * sqrt(p - t) instead
    bias: Tensor  # float32 [rows, columns] or [num_seqs, rows, columns], for this step's own keys
    sinks: Tensor  # float32, bfloat16 or float16 [num_q_heads]: one more logit of the denominator

    # Which keys a query sees.
    causal: bool  # True
    causal_per_seq: Tensor  # uint8 or bool [num_seqs], instead
    window_left: int  # w keeps w + 1 keys, the query's own included; -1 = unlimited
    window_right: int
    chunk_size: int  # > 0: p / chunk_size - t / chunk_size <= chunk_lookback
    chunk_lookback: int
    prefix_lens: Tensor  # int32 [num_seqs]: t < prefix_len, or p - t <= prefix_window_left
    prefix_window_left: int
    tree_words: Tensor  # int64 [num_tokens]: bit j = token j of this step is an ancestor
    bidirectional_ranges: Tensor  # int32 [num_seqs, max_ranges, 2], inclusive
    clamp_ranges_to_window_left: bool

    # Quantised tensors: value = stored * scale.
    q_scale: Tensor  # float32: one element, [num_kv_heads] or [num_seqs, num_kv_heads]
    k_scale: Tensor  # the same
    v_scale: Tensor
    k_token_scale: Tensor  # float32 [num_pages, page_size, num_kv_heads]
    v_token_scale: Tensor
    out_scale: Tensor  # float32 of one element: out = value / out_scale

    # How.
    lse_layout: LseLayout
    split_policy: SplitPolicy  # "fixed": a sequence's bits do not depend on the rest of the batch
    fixed_split_keys: int  # a multiple of 64; 0 = 1024
    checked: bool  # CPU: verify lengths, page ids and scales first
    q_dtype: Any  # what uint8 or uint16 elements are: "bfloat16", "float8_e4m3", torch.bfloat16, ...
    kv_dtype: Any
    out_dtype: Any
    workspace: Tensor  # uint8, of workspace_size() bytes on the device; None = made when needed
    stream: Any  # CUDA: a stream of torch or CuPy, or a cudaStream_t; None = the framework's current


class Execution(TypedDict, total=False):
    """Options that the operations on the KV cache share."""

    checked: bool  # CPU: verify slots, lengths and page ids first
    kv_dtype: Any  # what uint8 or uint16 pages hold
    stream: Any
