// The description of a tensor that the copy engine takes: made on the host, passed to kernels by
// value.
#ifndef PAGODA_CUDA_TENSOR_MAP_H_
#define PAGODA_CUDA_TENSOR_MAP_H_

#include <cstdint>

#include "cuda/sm90/swizzle.h"
#include "pagoda/status.h"
#include "pagoda/types.h"

namespace pagoda::cuda {

constexpr int kMaxMapRank = 5;

// The driver's CUtensorMap. A kernel takes it as `const __grid_constant__ TensorMap`.
struct alignas(128) TensorMap {
  uint64_t opaque[16];
};

// Which lines L2 fetches around what a copy asks for, in bytes.
enum class L2Promotion : int32_t { kNone = 0, k64B = 64, k128B = 128, k256B = 256 };

// Dimensions run from the innermost, whose stride is one element, outwards. Strides count elements
// and may come in any order; that of a dimension of one may be anything. A box is at most 256
// elements long in each dimension; its innermost dimension fills swizzle_bytes(swizzle), or any
// multiple of 16 bytes where nothing is swizzled.
struct TensorMapSpec {
  const void* data = nullptr;  // on the device, 16-byte aligned
  DType dtype = DType::kBFloat16;
  int32_t rank = 0;  // 2 ... kMaxMapRank
  int64_t extent[kMaxMapRank] = {};
  int64_t stride[kMaxMapRank] = {};  // of dimension 0: 1
  int32_t box[kMaxMapRank] = {};
  sm90::Swizzle swizzle = sm90::Swizzle::k128B;
  L2Promotion l2_promotion = L2Promotion::k128B;
};

// Writes only host memory. `spec.data` is not read.
Status make_tensor_map(const TensorMapSpec& spec, TensorMap* map);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_TENSOR_MAP_H_
