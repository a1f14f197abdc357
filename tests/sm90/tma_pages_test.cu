// Boxes of one page each, gathered into a tile: where the copy engine puts every element is where
// SmemTile says that it is, for every swizzle and for token-major, head-major and interleaved
// pages.
#include <numeric>

#include "check.h"
#include "cuda/sm90/tma.cuh"
#include "cuda/tensor_map.h"
#include "cuda/tile/smem_tile.cuh"

namespace pagoda::testing {
namespace {

constexpr int kPages = 9, kPageSize = 16, kHeads = 3, kHeadDim = 128;
constexpr int kTileRows = 64, kTilePages = kTileRows / kPageSize;
constexpr int kHead = 2;

template <class T, sm90::Swizzle kSwizzle>
__global__ void gather_pages(const __grid_constant__ cuda::TensorMap map, const int* page_ids,
                             T* out) {
  using Tile = tile::SmemTile<T, kTileRows, kHeadDim, kSwizzle>;
  __shared__ Tile pages;
  __shared__ sm90::Mbarrier full;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    sm90::init(full, 1);
    sm90::fence_mbarrier_init();
    sm90::prefetch_tensor_map(&map);
    sm90::arrive_expect_bytes(full, Tile::kBytes);
    for (int i = 0; i < kTilePages; ++i) {
      for (int panel = 0; panel < Tile::kNumPanels; ++panel) {
        sm90::load_box(pages.box_destination(i * kPageSize, panel), &map, full,
                       sm90::BoxStart{panel * Tile::kPanelCols, kHead, 0, page_ids[i]},
                       sm90::l2_evict_first());
      }
    }
  }
  __syncthreads();
  sm90::wait(full, 0);
  for (int i = thread; i < kTileRows * kHeadDim; i += static_cast<int>(blockDim.x)) {
    out[i] = pages.at(i / kHeadDim, i % kHeadDim);
  }
}

struct PageLayout {
  const char* name;
  int64_t page_stride, token_stride, head_stride;  // in elements
};

constexpr PageLayout kLayouts[] = {
    {"tokens of heads", kPageSize* kHeads* kHeadDim, kHeads* kHeadDim, kHeadDim},
    {"heads of tokens", kPageSize* kHeads* kHeadDim, kHeadDim, kPageSize* kHeadDim},
    {"keys and values interleaved", 2 * kPageSize* kHeads* kHeadDim, 2 * kHeads* kHeadDim,
     kHeadDim},
};

template <class T, sm90::Swizzle kSwizzle>
void test_layout(Suite& suite, const PageLayout& layout) {
  using Tile = tile::SmemTile<T, kTileRows, kHeadDim, kSwizzle>;
  suite.begin("tma/pages, " + std::to_string(sizeof(T)) + "-byte elements, swizzle " +
              std::to_string(sm90::swizzle_bytes(kSwizzle)) + ", " + layout.name);
  std::vector<T> pool(kPages * layout.page_stride);
  for (size_t i = 0; i < pool.size(); ++i) pool[i] = static_cast<T>(i * 2654435761u >> 13);
  const std::vector<int> ids = {7, 0, 8, 3};
  const DeviceArray<T> device_pool(pool), out(kTileRows * kHeadDim);
  const DeviceArray<int> device_ids(ids);
  cuda::TensorMap map;
  suite.expect_ok(cuda::make_tensor_map(
      {.data = device_pool.get(),
       .dtype = sizeof(T) == 1 ? DType::kUInt8 : DType::kBFloat16,
       .rank = 4,
       .extent = {kHeadDim, kHeads, kPageSize, kPages},
       .stride = {1, layout.head_stride, layout.token_stride, layout.page_stride},
       .box = {Tile::kPanelCols, 1, kPageSize, 1},
       .swizzle = kSwizzle},
      &map));
  gather_pages<T, kSwizzle><<<1, 128>>>(map, device_ids.get(), out.get());
  suite.synchronize();
  std::vector<T> want;
  for (int row = 0; row < kTileRows; ++row) {
    const int64_t from = ids[row / kPageSize] * layout.page_stride +
                         row % kPageSize * layout.token_stride + kHead * layout.head_stride;
    want.insert(want.end(), pool.begin() + from, pool.begin() + from + kHeadDim);
  }
  suite.expect_equal(out.to_host(), want);
}

}  // namespace

void test_tma_pages(Suite& suite) {
  for (const PageLayout& layout : kLayouts) {
    test_layout<uint16_t, sm90::Swizzle::k128B>(suite, layout);
    test_layout<uint16_t, sm90::Swizzle::k64B>(suite, layout);
    test_layout<uint16_t, sm90::Swizzle::k32B>(suite, layout);
    test_layout<uint16_t, sm90::Swizzle::kNone>(suite, layout);
    test_layout<uint8_t, sm90::Swizzle::k128B>(suite, layout);
  }
}

}  // namespace pagoda::testing
