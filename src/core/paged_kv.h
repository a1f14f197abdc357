// (sequence, token) -> page -> address. The only reader of the block table.
#ifndef PAGODA_CORE_PAGED_KV_H_
#define PAGODA_CORE_PAGED_KV_H_

#include "core/attention_params.h"
#include "core/portability.h"

namespace pagoda {

// The page ids of one sequence, in order.
PAGODA_HD const int32_t* page_ids(const BlockTableParams& table, int32_t seq) {
  if (table.table != nullptr) return table.table + seq * table.row_stride;
  return table.indices + table.indptr[seq];
}

// Entries that page_ids(table, seq) may be read for.
PAGODA_HD int32_t num_page_ids(const BlockTableParams& table, int32_t seq) {
  if (table.table != nullptr) return table.max_pages;
  return table.indptr[seq + 1] - table.indptr[seq];
}

// Where a token of a sequence lies.
struct TokenSlot {
  int32_t page;
  int32_t offset;
};

PAGODA_HD TokenSlot token_slot(const int32_t* page_ids, int32_t page_size, int32_t token) {
  return {page_ids[token / page_size], token % page_size};
}

// The place that `slot` of a slot mapping names, slot >= 0.
PAGODA_HD TokenSlot mapped_slot(int64_t slot, int32_t page_size) {
  // Division of 64 bits is slow on a GPU, and seldom needed.
  if (slot <= INT32_MAX) {
    const auto narrow = static_cast<int32_t>(slot);
    return {narrow / page_size, narrow % page_size};
  }
  return {static_cast<int32_t>(slot / page_size), static_cast<int32_t>(slot % page_size)};
}

// Offset in elements of the row (slot, kv_head).
PAGODA_HD int64_t row_offset(const PagesParams& pages, TokenSlot slot, int32_t kv_head) {
  return slot.page * pages.page_stride + slot.offset * pages.token_stride +
         kv_head * pages.head_stride;
}

PAGODA_HD bool has_token_scales(const PagedKvParams& kv) {
  return kv.k_token_scale.data != nullptr;
}

PAGODA_HD float* scale_address(const TokenScaleParams& scale, TokenSlot slot, int32_t kv_head) {
  return scale.data + slot.page * scale.page_stride + slot.offset * scale.token_stride +
         kv_head * scale.head_stride;
}

}  // namespace pagoda

#endif  // PAGODA_CORE_PAGED_KV_H_
