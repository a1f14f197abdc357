#include <cmath>

#include "core/arith.h"
#include "core/checks.h"
#include "core/contents_checks.h"
#include "core/paged_kv.h"

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

}  // namespace pagoda
