#include "core/paged_kv.h"

#include <gtest/gtest.h>

namespace pagoda {
namespace {

TEST(PagedKv, DenseTableWithAFreeRowStride) {
  const int32_t table[] = {7, 8, -1, 0, 5, 6};
  const BlockTableParams params{
      .table = table, .row_stride = 4, .indptr = nullptr, .indices = nullptr, .max_pages = 2};
  EXPECT_EQ(page_ids(params, 0), table);
  EXPECT_EQ(page_ids(params, 1), table + 4);
  EXPECT_EQ(num_page_ids(params, 1), 2);
}

TEST(PagedKv, Csr) {
  const int32_t indptr[] = {0, 2, 2, 5};
  const int32_t indices[] = {9, 3, 1, 4, 9};
  const BlockTableParams params{
      .table = nullptr, .row_stride = 0, .indptr = indptr, .indices = indices, .max_pages = 5};
  EXPECT_EQ(page_ids(params, 0)[1], 3);
  EXPECT_EQ(num_page_ids(params, 0), 2);
  EXPECT_EQ(num_page_ids(params, 1), 0);
  EXPECT_EQ(page_ids(params, 2)[0], 1);
  EXPECT_EQ(num_page_ids(params, 2), 3);
}

TEST(PagedKv, SlotOfAToken) {
  const int32_t pages[] = {5, 2, 9};
  for (int32_t page_size : {1, 3, 16, 784}) {
    for (int32_t token : {0, page_size - 1, page_size, 2 * page_size, 3 * page_size - 1}) {
      const TokenSlot slot = token_slot(pages, page_size, token);
      EXPECT_EQ(slot.page, pages[token / page_size]);
      EXPECT_EQ(slot.offset, token - token / page_size * page_size);
    }
  }
}

TEST(PagedKv, PlaceOfAMappedSlot) {
  constexpr int64_t kBeyond32Bits = int64_t{5} << 30;
  for (int32_t page_size : {1, 3, 16, 784}) {
    for (int64_t slot : {int64_t{0}, int64_t{page_size} - 1, int64_t{page_size}, int64_t{12345},
                         int64_t{0x7fffffff}, int64_t{0x80000000}, kBeyond32Bits + 7}) {
      if (slot / page_size > 0x7fffffff) continue;  // no cache has so many pages
      const TokenSlot place = mapped_slot(slot, page_size);
      EXPECT_EQ(int64_t{place.page} * page_size + place.offset, slot);
      EXPECT_TRUE(place.offset >= 0 && place.offset < page_size);
    }
  }
}

TEST(PagedKv, RowsBeyondTwoBillionElements) {
  const PagesParams pages{
      .data = nullptr, .page_stride = 1 << 20, .token_stride = 1 << 10, .head_stride = 64};
  const TokenSlot slot{.page = 300000, .offset = 15};
  EXPECT_EQ(row_offset(pages, slot, 7), int64_t{300000} * 1048576 + 15 * 1024 + 7 * 64);
}

TEST(PagedKv, ScaleOfAStoredRow) {
  float scales[100] = {};
  // [page, head, token] in memory.
  const TokenScaleParams params{
      .data = scales, .page_stride = 24, .token_stride = 1, .head_stride = 8};
  EXPECT_EQ(scale_address(params, {.page = 2, .offset = 5}, 1), scales + 48 + 8 + 5);
}

}  // namespace
}  // namespace pagoda
