// Boxes of every rank, boxes over the edge, plain byte copies, and what the driver refuses.
#include <numeric>

#include "check.h"
#include "cuda/sm90/tma.cuh"
#include "cuda/tensor_map.h"

namespace pagoda::testing {
namespace {

// A 4-byte element tensor with extents 16, 6, 5, 4, 3 (innermost first), of which a box of 8 x 4 x
// 3 x 2 x 2, or its first dimensions, is copied.
constexpr int64_t kExtent[] = {16, 6, 5, 4, 3};
constexpr int32_t kBox[] = {8, 4, 3, 2, 2};
constexpr int kElements = 16 * 6 * 5 * 4 * 3;

template <int kRank>
__global__ void copy_box(const __grid_constant__ cuda::TensorMap map, sm90::BoxStart<kRank> start,
                         int size, int* out) {
  __shared__ alignas(128) int staged[8 * 4 * 3 * 2 * 2];
  __shared__ sm90::Mbarrier full;
  if (threadIdx.x == 0) {
    sm90::prefetch_box(&map, start);
    sm90::init(full, 1);
    sm90::fence_mbarrier_init();
    // Bytes announced in two steps, the arrival last.
    sm90::expect_bytes(full, 16);
    sm90::load_box(staged, &map, full, start, sm90::l2_evict_normal());
    sm90::arrive_expect_bytes(full, size * 4 - 16);
  }
  __syncthreads();
  while (!sm90::test_wait(full, 0)) {
  }
  for (int i = static_cast<int>(threadIdx.x); i < size; i += static_cast<int>(blockDim.x)) {
    out[i] = staged[i];
  }
}

__global__ void copy_bytes(const uint8_t* in, int size, uint8_t* out) {
  __shared__ alignas(16) uint8_t staged[1024];
  __shared__ sm90::Mbarrier full;
  if (threadIdx.x == 0) {
    sm90::init(full, 1);
    sm90::fence_mbarrier_init();
    sm90::arrive_expect_bytes(full, size);
    sm90::load_bytes(staged, in, size, full, sm90::l2_evict_last());
  }
  __syncthreads();
  sm90::wait(full, 0);
  for (int i = static_cast<int>(threadIdx.x); i < size; i += static_cast<int>(blockDim.x)) {
    out[i] = staged[i];
  }
  __syncthreads();
  if (threadIdx.x == 0) sm90::invalidate(full);
}

template <int kRank>
void test_rank(Suite& suite, const DeviceArray<int>& tensor, sm90::BoxStart<kRank> start) {
  cuda::TensorMapSpec spec{.data = tensor.get(),
                           .dtype = DType::kInt32,
                           .rank = kRank,
                           .swizzle = sm90::Swizzle::kNone,
                           .l2_promotion = cuda::L2Promotion::kNone};
  int size = 1;
  for (int i = 0; i < kRank; ++i) {
    spec.extent[i] = kExtent[i];
    spec.stride[i] = i == 0 ? 1 : spec.stride[i - 1] * kExtent[i - 1];
    spec.box[i] = kBox[i];
    size *= kBox[i];
  }
  cuda::TensorMap map;
  suite.expect_ok(cuda::make_tensor_map(spec, &map));
  const DeviceArray<int> out(size);
  copy_box<kRank><<<1, 64>>>(map, start, size, out.get());
  suite.synchronize();
  std::vector<int> want(size);
  for (int i = 0; i < size; ++i) {
    int64_t from = 0;
    bool inside = true;
    for (int dim = 0, rest = i; dim < kRank; rest /= kBox[dim], ++dim) {
      const int64_t at = start.at[dim] + rest % kBox[dim];
      inside = inside && at >= 0 && at < kExtent[dim];
      from += at * spec.stride[dim];
    }
    want[i] = inside ? static_cast<int>(from) + 1 : 0;
  }
  suite.expect_equal(out.to_host(), want);
}

}  // namespace

void test_tma(Suite& suite) {
  std::vector<int> x(kElements);
  std::iota(x.begin(), x.end(), 1);
  const DeviceArray<int> tensor(x);
  suite.begin("tma/boxes of rank 2 ... 5");
  test_rank(suite, tensor, sm90::BoxStart{4, 1});
  test_rank(suite, tensor, sm90::BoxStart{8, 0, 2});
  test_rank(suite, tensor, sm90::BoxStart{0, 2, 1, 2});
  test_rank(suite, tensor, sm90::BoxStart{4, 1, 2, 1, 1});
  suite.begin("tma/elements beyond the edges are zeros and count as bytes");
  test_rank(suite, tensor, sm90::BoxStart{12, 4});
  test_rank(suite, tensor, sm90::BoxStart{-4, -1, 4});
  test_rank(suite, tensor, sm90::BoxStart{0, 0, 0, 3});
  test_rank(suite, tensor, sm90::BoxStart{0, 0, 0, 0, 2});
  test_rank(suite, tensor, sm90::BoxStart{0, 0, 0, 0, 3});

  suite.begin("tma/plain bytes");
  std::vector<uint8_t> bytes(1024);
  std::iota(bytes.begin(), bytes.end(), uint8_t{5});
  const DeviceArray<uint8_t> in(bytes), out(bytes.size());
  copy_bytes<<<1, 64>>>(in.get(), 1024, out.get());
  suite.synchronize();
  suite.expect_equal(out.to_host(), bytes);

  suite.begin("tma/a map that the driver refuses is an error that shows the map");
  cuda::TensorMap map;
  const Status status = cuda::make_tensor_map({.data = tensor.get(),
                                               .dtype = DType::kBFloat16,
                                               .rank = 2,
                                               .extent = {64, 8},
                                               .stride = {1, 63},  // not a multiple of 16 bytes
                                               .box = {64, 8}},
                                              &map);
  suite.expect(status.code() == StatusCode::kInvalidArgument, "code");
  suite.expect(status.message().find("8 x 63 : 8") != std::string::npos, status.message());
}

}  // namespace pagoda::testing
