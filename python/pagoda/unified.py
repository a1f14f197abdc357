"""unified_attention with the signature of the Triton kernel of the same name in vLLM, so that it can
take its place."""

from __future__ import annotations

from typing import Any

from ._frameworks import dtype_name
from .ops import operations

# vLLM's KVQuantMode, by value.
_MODE_INT8_PER_TOKEN_HEAD = 2
_MODE_FP8_PER_TOKEN_HEAD = 3
_LAST_MODE_WITH_CODE = _MODE_FP8_PER_TOKEN_HEAD


def _mask_of(window_size: Any, causal: Any, chunk_lookback: int) -> tuple[int, int, int, int]:
    """window_left, window_right, chunk_size, chunk_lookback. The kernel reads the left window only;
    without a causal mask it holds on both sides. With chunk_lookback it gives the size of the chunks
    instead."""
    left = int(window_size[0])
    if chunk_lookback >= 0 and left >= 0:
        return -1, -1, (left + 1) // (chunk_lookback + 1), chunk_lookback
    return left, left if causal is False else -1, 0, 0


def _check_mode(mode: int) -> None:
    if mode > _LAST_MODE_WITH_CODE:
        raise NotImplementedError(f"pagoda.unified_attention: kv_quant_mode: got {mode}, Pagoda has none "
                                  "(0), fp8 (1), and int8 (2) or fp8 (3) per token and head")


def unified_attention(
    q: Any,
    k: Any,
    v: Any,
    out: Any,
    cu_seqlens_q: Any,
    max_seqlen_q: int,
    seqused_k: Any,
    max_seqlen_k: int,
    softmax_scale: float,
    causal: Any,
    window_size: Any,
    block_table: Any,
    softcap: float,
    q_descale: Any,
    k_descale: Any,
    v_descale: Any,
    alibi_slopes: Any = None,
    *,
    output_scale: Any = None,
    qq_bias: Any = None,
    sinks: Any = None,
    mm_prefix_range: Any = None,
    rswa_prefix_lens: Any = None,
    rswa_window: int | None = None,
    use_alibi_sqrt: bool = False,
    kv_quant_mode: int = 0,
    k_scale_cache: Any = None,
    v_scale_cache: Any = None,
    chunk_lookback: int = -1,
    mm_prefix_clamp_sliding_window: bool = False,
    seq_threshold_3D: Any = None,
    num_par_softmax_segments: Any = None,
    softmax_segm_output: Any = None,
    softmax_segm_max: Any = None,
    softmax_segm_expsum: Any = None,
    use_td: bool = False,
) -> None:
    """Writes the attention of a serving step to `out`; see pagoda.attention().

    q, out [num_tokens, num_q_heads, head_dim]; k, v [num_pages, page_size, num_kv_heads, head_dim];
    cu_seqlens_q int32 [num_seqs + 1]; seqused_k int32 [num_seqs]; block_table int32
    [num_seqs, max_pages]. window_size is (left, right), -1 = unlimited; softcap 0 = off; causal is a
    bool or a bool tensor [num_seqs].

    Arguments from output_scale on are those of newer versions of that kernel, by keyword. The last six
    steer how it splits its work; they are taken and not needed. kv_quant_mode 4 and above (int4)
    raise NotImplementedError.
    """
    del seq_threshold_3D, num_par_softmax_segments, softmax_segm_output, softmax_segm_max
    del softmax_segm_expsum, use_td
    mode = int(kv_quant_mode)
    _check_mode(mode)
    by_token = mode >= _MODE_INT8_PER_TOKEN_HEAD
    is_quantised = k.dtype.itemsize == 1
    # The kernel ignores the descales of a cache that is not quantised; callers pass them always.
    by_tensor = is_quantised and not by_token
    per_seq = not isinstance(causal, (bool, int))
    window_left, window_right, chunk_size, chunk_lookback = _mask_of(window_size, causal,
                                                                     chunk_lookback)
    # By name and without a dict on the way: half of the cost of the call.
    operations(q).attention(
        q, k, v,
        out=out,
        cu_seqlens_q=cu_seqlens_q,
        seqused_k=seqused_k,
        block_table=block_table,
        max_seqlen_q=max_seqlen_q,
        max_seqlen_k=max_seqlen_k,
        softmax_scale=softmax_scale,
        logits_soft_cap=softcap,
        causal=True if per_seq else bool(causal),
        causal_per_seq=causal if per_seq else None,
        window_left=window_left,
        window_right=window_right,
        chunk_size=chunk_size,
        chunk_lookback=chunk_lookback,
        prefix_lens=rswa_prefix_lens,
        prefix_window_left=-1 if rswa_prefix_lens is None else (rswa_window or 0) - 1,
        bidirectional_ranges=mm_prefix_range,
        clamp_ranges_to_window_left=mm_prefix_range is not None and mm_prefix_clamp_sliding_window,
        alibi_slopes=alibi_slopes,
        alibi_sqrt=alibi_slopes is not None and use_alibi_sqrt,
        bias=qq_bias,
        sinks=sinks,
        q_scale=q_descale if q.dtype.itemsize == 1 else None,
        k_scale=k_descale if by_tensor else None,
        v_scale=v_descale if by_tensor else None,
        k_token_scale=k_scale_cache if by_token else None,
        v_token_scale=v_scale_cache if by_token else None,
        out_scale=output_scale,
        kv_dtype="float8_e4m3" if is_quantised and dtype_name(k.dtype) == "uint8" else None,
    )
