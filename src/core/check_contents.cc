#include <cmath>

#include "core/arith.h"
#include "core/checks.h"
#include "core/contents_checks.h"
#include "core/paged_kv.h"
#include "core/validate.h"

namespace pagoda {
namespace {

Status check_scales_of(const char* name, const TokenScaleParams& scale, const PagedKvParams& kv,
                       int32_t num_kv_heads, const TokenRange& tokens) {
  if (scale.data == nullptr) return {};
  const int32_t* pages = page_ids(kv.block_table, tokens.seq);
  for (int64_t token = tokens.begin; token < tokens.end; ++token) {
    const TokenSlot slot = token_slot(pages, kv.page_size, static_cast<int32_t>(token));
    for (int32_t head = 0; head < num_kv_heads; ++head) {
      const float value = *scale_address(scale, slot, head);
      if (value >= 0.0f && std::isfinite(value)) continue;
      return invalid_contents(name, ": out of range at (sequence ", tokens.seq, ", token ", token,
                              ", kv head ", head, ", value ", value,
                              "), wants a finite number >= 0");
    }
  }
  return {};
}

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

}  // namespace

Status check_prefix_sums(const PrefixSums& sums) {
  int32_t previous = 0;
  for (int32_t i = 0; i <= sums.num_seqs; ++i) {
    const int32_t value = sums.data[i];
    const bool starts_at_zero = i > 0 || value == 0;
    if (starts_at_zero && previous <= value && value <= sums.limit) {
      previous = value;
      continue;
    }
    return invalid_contents(
        sums.name, ": out of order at (entry ", i, ", value ", value,
        "), wants prefix sums that start at 0, never fall (the entry before is ", previous,
        ") and end at ", sums.limit_name, "=", sums.limit, " or before");
  }
  return {};
}

Status check_table_rows(const BlockTableParams& table, int32_t num_seqs) {
  if (table.indptr == nullptr) return {};
  int32_t previous = 0;
  for (int32_t i = 0; i <= num_seqs; ++i) {
    const int32_t value = table.indptr[i];
    if (previous <= value && value <= table.max_pages) {
      previous = value;
      continue;
    }
    return invalid_contents("page_indptr: out of order at (entry ", i, ", value ", value,
                            "), wants entries that never fall (the one before is ", previous,
                            ") and are at most num_page_entries=", table.max_pages);
  }
  return {};
}

Status check_page_ids(const PagedKvParams& kv, const TokenRange& tokens, const char* length_name) {
  const int64_t table_tokens = int64_t{num_page_ids(kv.block_table, tokens.seq)} * kv.page_size;
  const int64_t capacity = min_of(table_tokens, kMaxInt32);
  if (tokens.end > capacity) {
    return invalid_contents(length_name, ": length out of range at (sequence ", tokens.seq,
                            ", value ", tokens.end, "), wants at most ", capacity,
                            ", what its pages in the table hold");
  }
  const bool is_csr = kv.block_table.indptr != nullptr;
  const int32_t* ids = page_ids(kv.block_table, tokens.seq);
  const int64_t end = ceil_div<int64_t>(tokens.end, kv.page_size);
  for (int64_t column = tokens.begin / kv.page_size; column < end; ++column) {
    const int32_t id = ids[column];
    if (id >= 0 && id < kv.num_pages) continue;
    return invalid_contents(is_csr ? "page_indices" : "block_table",
                            ": page id out of range at (sequence ", tokens.seq, ", column ", column,
                            ", value ", id, "), wants 0 <= id < num_pages=", kv.num_pages);
  }
  return {};
}

Status check_token_scales(const PagedKvParams& kv, int32_t num_kv_heads, const TokenRange& tokens) {
  PAGODA_RETURN_IF_ERROR(
      check_scales_of("k_token_scale", kv.k_token_scale, kv, num_kv_heads, tokens));
  return check_scales_of("v_token_scale", kv.v_token_scale, kv, num_kv_heads, tokens);
}

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
    const TokenRange tokens{seq, 0, params.seqused_k[seq]};
    PAGODA_RETURN_IF_ERROR(check_page_ids(params.kv, tokens, "seqused_k"));
    PAGODA_RETURN_IF_ERROR(check_token_scales(params.kv, params.num_kv_heads, tokens));
  }
  return {};
}

}  // namespace pagoda
