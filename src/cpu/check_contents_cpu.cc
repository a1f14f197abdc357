#include "core/checks.h"
#include "core/contents_checks.h"
#include "cpu/backend_cpu.h"
#include "plan/planner.h"

namespace pagoda::cpu {
namespace {

Status check_lengths(const AttentionParams& params, int32_t seq) {
  const int64_t q_len = int64_t{params.cu_seqlens_q[seq + 1]} - params.cu_seqlens_q[seq];
  if (q_len > params.max_seqlen_q) {
    return invalid_contents("cu_seqlens_q: query length out of range at (sequence ", seq,
                            ", value ", q_len,
                            "), wants 0 <= length <= max_seqlen_q=", params.max_seqlen_q);
  }
  const int32_t k_len = params.seqused_k[seq];
  if (k_len < 0 || k_len > params.max_seqlen_k) {
    return invalid_contents("seqused_k: length out of range at (sequence ", seq, ", value ", k_len,
                            "), wants 0 <= length <= max_seqlen_k=", params.max_seqlen_k);
  }
  if (params.mask.prefix_lens == nullptr) return {};
  const int32_t prefix_len = params.mask.prefix_lens[seq * params.mask.prefix_lens_stride];
  if (prefix_len >= 0) return {};
  return invalid_contents("prefix_lens: length out of range at (sequence ", seq, ", value ",
                          prefix_len, "), wants 0 <= length");
}

// The tokens whose pages some query of the sequence reads. Pages that a window has left behind may
// be gone from the table.
TokenRange read_tokens(const AttentionParams& params, int32_t seq) {
  const SequenceShape shape = sequence_shape(params, seq);
  const MaskRule rule = mask_rule(params.mask, seq, shape.first_token, shape.q_len, shape.k_len);
  const int32_t q_first = rule.context_len();
  const KvRange kv = any_visible(rule, q_first, q_first + shape.q_len - 1);
  return {seq, kv.empty() ? shape.k_len : kv.begin, shape.k_len};
}

}  // namespace

Status check_contents(const AttentionParams& params) {
  if (params.num_seqs == 0) return {};
  PAGODA_RETURN_IF_ERROR(check_prefix_sums({.name = "cu_seqlens_q",
                                            .data = params.cu_seqlens_q,
                                            .num_seqs = params.num_seqs,
                                            .limit_name = "num_tokens",
                                            .limit = params.num_tokens}));
  PAGODA_RETURN_IF_ERROR(check_table_rows(params.kv.block_table, params.num_seqs));
  for (int32_t seq = 0; seq < params.num_seqs; ++seq) {
    PAGODA_RETURN_IF_ERROR(check_lengths(params, seq));
    if (params.cu_seqlens_q[seq] == params.cu_seqlens_q[seq + 1]) continue;  // reads no page
    const TokenRange tokens = read_tokens(params, seq);
    PAGODA_RETURN_IF_ERROR(check_page_ids(params.kv, tokens, "seqused_k"));
    PAGODA_RETURN_IF_ERROR(check_token_scales(params.kv, params.num_kv_heads, tokens));
  }
  return {};
}

}  // namespace pagoda::cpu
