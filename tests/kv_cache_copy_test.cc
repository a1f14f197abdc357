// copy_pages and swap_pages: bytes arrive, and nothing else is touched.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "kv_oracle.h"
#include "pagoda/kv_cache.h"

namespace pagoda::testing {
namespace {

constexpr int64_t kNumPages = 9;
constexpr int64_t kPageSize = 5;
constexpr int64_t kHeads = 3;
constexpr int64_t kHeadDim = 16;

using Copy = Status (*)(const CopyPages& args, const Execution& execution);

struct CopyCase {
  DType dtype = DType::kBFloat16;
  Placement source = {};
  Placement destination = {};
  std::vector<int64_t> page_shape = {kPageSize, kHeads, kHeadDim};
};

std::vector<int64_t> shape_of(const CopyCase& c, int64_t num_pages) {
  return {num_pages, c.page_shape[0], c.page_shape[1], c.page_shape[2]};
}

// Distinct bytes everywhere, so that every element that goes astray shows.
void fill_bytes(const TensorView& view) {
  uint32_t next = 1;
  for (int64_t i = 0; i < view.num_elements(); ++i) {
    int64_t rest = i;
    int64_t index[4];
    for (int axis = 3; axis >= 0; --axis) {
      index[axis] = rest % view.shape[axis];
      rest /= view.shape[axis];
    }
    uint8_t bytes[8];
    for (uint8_t& byte : bytes)
      byte = static_cast<uint8_t>((next = next * 1664525 + 1013904223) >> 24);
    std::memcpy(element(view, index[0], index[1], index[2], index[3]), bytes, size_of(view.dtype));
  }
}

void expect_same_page(const TensorView& a, int64_t page_a, const TensorView& b, int64_t page_b,
                      WatchedTensor* watched) {
  for (int64_t i = 0; i < a.shape[1]; ++i) {
    for (int64_t j = 0; j < a.shape[2]; ++j) {
      for (int64_t k = 0; k < a.shape[3]; ++k) {
        const void* to = element(b, page_b, i, j, k);
        ASSERT_EQ(std::memcmp(element(a, page_a, i, j, k), to, size_of(a.dtype)), 0)
            << "page " << page_a << " to " << page_b << " at " << i << ", " << j << ", " << k;
        watched->allow(to, b.dtype, 1);
      }
    }
  }
}

void check(Copy copy, const CopyCase& c) {
  WatchedTensor source(c.dtype, shape_of(c, kNumPages), c.source);
  fill_bytes(source.view());
  source.watch();
  WatchedTensor destination(c.dtype, shape_of(c, kNumPages + 2), c.destination);
  const std::vector<int64_t> pairs{0, 4, 8, 10, 0, 0, 3, 7};  // page 0 twice
  const CopyPages args{.source = source.view(),
                       .destination = destination.view(),
                       .page_pairs = TensorView::contiguous(pairs.data(), DType::kInt64, {4, 2}),
                       .checked = true};
  const Status status = copy(args, {});
  ASSERT_TRUE(status.ok()) << status.message();
  for (size_t i = 0; i < pairs.size(); i += 2) {
    expect_same_page(source.view(), pairs[i], destination.view(), pairs[i + 1], &destination);
  }
  EXPECT_TRUE(source.rest_is_intact());
  EXPECT_TRUE(destination.rest_is_intact());
}

TEST(CopyPages, BetweenAllLayouts) {
  for (const Copy copy : {Copy{copy_pages}, Copy{swap_pages}}) {
    for (size_t i = 0; i < kPagePlacements.size(); ++i) {
      for (size_t j = 0; j < kPagePlacements.size(); ++j) {
        SCOPED_TRACE("layout " + std::to_string(i) + " to " + std::to_string(j));
        check(copy, {.source = kPagePlacements[i], .destination = kPagePlacements[j]});
      }
    }
  }
}

TEST(CopyPages, EveryTypeAndShape) {
  for (DType dtype :
       {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kFloat8E4M3, DType::kFloat8E5M2,
        DType::kInt8, DType::kUInt8, DType::kInt32, DType::kInt64}) {
    check(copy_pages, {.dtype = dtype, .destination = {.order = {0, 2, 1, 3}}});
  }
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{1, 1, 1}, {1, 7, 3}, {7, 1, 3}, {3, 7, 1}, {1, 1, 9}, {64, 8, 128}}) {
    for (const Placement& placement : kPagePlacements) {
      check(copy_pages, {.destination = placement, .page_shape = shape});
    }
  }
}

TEST(CopyPages, WithinOneTensor) {
  WatchedTensor pages(DType::kFloat16, shape_of({}, kNumPages), {.gap = 1});
  fill_bytes(pages.view());
  pages.watch();
  const std::vector<int64_t> pairs{2, 5, 8, 0};
  const CopyPages args{.source = pages.view(),
                       .destination = pages.view(),
                       .page_pairs = TensorView::contiguous(pairs.data(), DType::kInt64, {2, 2})};
  ASSERT_TRUE(copy_pages(args).ok());
  expect_same_page(pages.view(), 2, pages.view(), 5, &pages);
  expect_same_page(pages.view(), 8, pages.view(), 0, &pages);
  EXPECT_TRUE(pages.rest_is_intact());
}

TEST(CopyPages, NoPairs) {
  WatchedTensor pages(DType::kFloat16, shape_of({}, kNumPages));
  const CopyPages args{.source = pages.view(),
                       .destination = pages.view(),
                       .page_pairs = TensorView::contiguous(nullptr, DType::kInt64, {0, 2})};
  ASSERT_TRUE(copy_pages(args).ok());
  EXPECT_TRUE(pages.rest_is_intact());
}

}  // namespace
}  // namespace pagoda::testing
