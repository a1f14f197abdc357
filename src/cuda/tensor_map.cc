#include "cuda/tensor_map.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <string>

namespace pagoda::cuda {
namespace {

static_assert(sizeof(TensorMap) == sizeof(CUtensorMap));
static_assert(alignof(TensorMap) >= alignof(CUtensorMap));

constexpr int64_t kAnyStrideBytes = 128;

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

// From the driver that is loaded at run time, so that the library also loads where there is none.
Status find_encoder(EncodeTiled* encoder) {
  constexpr unsigned kCuda12 = 12000;  // the release that brought the function
  void* address = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &address,
                                                             kCuda12, cudaEnableDefault, &found);
  if (error != cudaSuccess || found != cudaDriverEntryPointSuccess) {
    return {StatusCode::kDeviceError,
            std::string("tensor map: the driver has no cuTensorMapEncodeTiled (") +
                cudaGetErrorString(error) + "); wants a driver for CUDA 12.0 or later"};
  }
  *encoder = reinterpret_cast<EncodeTiled>(address);
  return {};
}

// What the copy engine only moves needs no more than its size; floats also name their type, for the
// zeros beyond the edge.
CUtensorMapDataType map_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
    case DType::kFloat16:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    case DType::kBFloat16:
      return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    case DType::kInt32:
      return CU_TENSOR_MAP_DATA_TYPE_INT32;
    case DType::kInt64:
      return CU_TENSOR_MAP_DATA_TYPE_INT64;
    default:
      return CU_TENSOR_MAP_DATA_TYPE_UINT8;
  }
}

CUtensorMapSwizzle map_swizzle(sm90::Swizzle swizzle) {
  switch (swizzle) {
    case sm90::Swizzle::k128B:
      return CU_TENSOR_MAP_SWIZZLE_128B;
    case sm90::Swizzle::k64B:
      return CU_TENSOR_MAP_SWIZZLE_64B;
    case sm90::Swizzle::k32B:
      return CU_TENSOR_MAP_SWIZZLE_32B;
    default:
      return CU_TENSOR_MAP_SWIZZLE_NONE;
  }
}

CUtensorMapL2promotion map_promotion(L2Promotion promotion) {
  switch (promotion) {
    case L2Promotion::k64B:
      return CU_TENSOR_MAP_L2_PROMOTION_L2_64B;
    case L2Promotion::k128B:
      return CU_TENSOR_MAP_L2_PROMOTION_L2_128B;
    case L2Promotion::k256B:
      return CU_TENSOR_MAP_L2_PROMOTION_L2_256B;
    default:
      return CU_TENSOR_MAP_L2_PROMOTION_NONE;
  }
}

std::string describe(const TensorMapSpec& spec) {
  std::string text = "rank " + std::to_string(spec.rank) + ", extent x stride : box";
  for (int i = 0; i < spec.rank; ++i) {
    text += (i == 0 ? " " : ", ") + std::to_string(spec.extent[i]) + " x " +
            std::to_string(spec.stride[i]) + " : " + std::to_string(spec.box[i]);
  }
  return text + ", element bytes " + std::to_string(size_of(spec.dtype)) + ", swizzle bytes " +
         std::to_string(sm90::swizzle_bytes(spec.swizzle));
}

}  // namespace

Status make_tensor_map(const TensorMapSpec& spec, TensorMap* map) {
  EncodeTiled encode = nullptr;
  if (Status status = find_encoder(&encode); !status.ok()) return status;

  const auto element_bytes = static_cast<int64_t>(size_of(spec.dtype));
  cuuint64_t extent[kMaxMapRank] = {};
  cuuint64_t stride_bytes[kMaxMapRank] = {};  // of dimensions 1, 2, ...
  cuuint32_t box[kMaxMapRank] = {};
  cuuint32_t element_stride[kMaxMapRank] = {};
  for (int i = 0; i < spec.rank; ++i) {
    extent[i] = static_cast<cuuint64_t>(spec.extent[i]);
    box[i] = static_cast<cuuint32_t>(spec.box[i]);
    element_stride[i] = 1;
    // Of a dimension of one it is never used, but must be one that the driver takes.
    const int64_t stride = spec.extent[i] == 1 ? kAnyStrideBytes : spec.stride[i] * element_bytes;
    if (i > 0) stride_bytes[i - 1] = static_cast<cuuint64_t>(stride);
  }
  const CUresult result =
      encode(reinterpret_cast<CUtensorMap*>(map), map_type(spec.dtype),
             static_cast<cuuint32_t>(spec.rank), const_cast<void*>(spec.data), extent, stride_bytes,
             box, element_stride, CU_TENSOR_MAP_INTERLEAVE_NONE, map_swizzle(spec.swizzle),
             map_promotion(spec.l2_promotion), CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result == CUDA_SUCCESS) return {};
  return {
      StatusCode::kInvalidArgument,
      "tensor map: the driver rejects " + describe(spec) + " (error " +
          std::to_string(static_cast<int>(result)) +
          "); wants 16-byte aligned data and strides, strides below 2^40 bytes, boxes of at most "
          "256 elements a side and no wider than the swizzle"};
}

}  // namespace pagoda::cuda
