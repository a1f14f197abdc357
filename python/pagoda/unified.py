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

    Args:
      q, out: [num_tokens, num_q_heads, head_dim].
      k, v: [num_pages, page_size, num_kv_heads, head_dim] of q's type, fp8 (uint8 counts as e4m3) or int8.
      cu_seqlens_q: int32 [num_seqs + 1]. seqused_k: int32 [num_seqs].
      block_table: int32 [num_seqs, max_pages]. max_seqlen_q, max_seqlen_k: bounds of the lengths.
      softmax_scale: 0 = 1 / sqrt(head_dim). softcap: 0 = off.
      causal: a bool or a bool tensor [num_seqs].
      window_size: (left, right), of which the kernel reads left; -1 = unlimited.
      q_descale, k_descale, v_descale: float32, one element, [num_kv_heads] or [num_seqs, num_kv_heads];
        of no account for tensors that are not fp8.
      alibi_slopes: float32 [num_q_heads]; use_alibi_sqrt: see pagoda.Problem.

    Those of newer versions of that kernel, by keyword:
      output_scale: float32 of one element, for an fp8 out. sinks: [num_q_heads]. qq_bias: float32
        [rows, columns], for this step's own keys.
      mm_prefix_range: int32 [num_seqs, max_ranges, 2]; mm_prefix_clamp_sliding_window holds it to the
        window. rswa_prefix_lens: int32 [num_seqs], and rswa_window, in keys. chunk_lookback: >= 0 makes
        the window one of chunks.
      kv_quant_mode: 2 (int8) and 3 (fp8) take k_scale_cache and v_scale_cache, float32
        [num_pages, page_size, num_kv_heads].
      seq_threshold_3D, num_par_softmax_segments, softmax_segm_output, softmax_segm_max,
        softmax_segm_expsum, use_td: steer how the kernel splits its work; taken and not needed.

    Raises: as attention() does; NotImplementedError for kv_quant_mode 4 and above (4 bits).
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
