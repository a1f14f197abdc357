"""unified_attention with the signature of the Triton kernel of the same name in vLLM, so that it can
take its place."""

from __future__ import annotations

from typing import Any

from .ops import operations


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
    per_seq = not isinstance(causal, (bool, int))
    # By position, in the order of the extension's table, which says what the arguments mean: names cost
    # as much as all the rest of the call.
    operations(q).unified_attention(
        q, k, v, out, cu_seqlens_q, max_seqlen_q, seqused_k, max_seqlen_k, softmax_scale,
        per_seq or bool(causal), causal if per_seq else None, window_size[0], block_table, softcap,
        q_descale, k_descale, v_descale, alibi_slopes, output_scale, qq_bias, sinks, mm_prefix_range,
        rswa_prefix_lens, rswa_window, use_alibi_sqrt, kv_quant_mode, k_scale_cache, v_scale_cache,
        chunk_lookback, mm_prefix_clamp_sliding_window)
