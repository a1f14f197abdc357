// 8-bit elements as pairs of 16-bit ones: exactly, or times a scale.
#ifndef PAGODA_CUDA_KERNELS_TO_PAIRS_CUH_
#define PAGODA_CUDA_KERNELS_TO_PAIRS_CUH_

#include <type_traits>

#include "cuda/kernels/to_f16.cuh"

namespace pagoda::cuda {

PAGODA_DEVICE uint32_t f16_to_bf16_pair(uint32_t pair) {
  return sm90::pack_pair<BFloat16>(sm90::f16_to_f32(static_cast<uint16_t>(pair)),
                                   sm90::f16_to_f32(static_cast<uint16_t>(pair >> 16)));
}

// Four elements to two pairs of T, which is Float16 or BFloat16.
template <class T, class KvT>
PAGODA_DEVICE void to_pairs(KvT type, uint32_t bytes, uint32_t& low, uint32_t& high) {
  to_f16_pairs(type, bytes, low, high);
  if constexpr (std::is_same_v<T, BFloat16>) {
    low = f16_to_bf16_pair(low);
    high = f16_to_bf16_pair(high);
  }
}

// The same times `scale`, rounded to T.
template <class T, class KvT>
PAGODA_DEVICE void to_scaled_pairs(KvT type, uint32_t bytes, float scale, uint32_t& low,
                                   uint32_t& high) {
  to_f16_pairs(type, bytes, low, high);
  for (uint32_t* pair : {&low, &high}) {
    *pair = sm90::pack_pair<T>(sm90::f16_to_f32(static_cast<uint16_t>(*pair)) * scale,
                               sm90::f16_to_f32(static_cast<uint16_t>(*pair >> 16)) * scale);
  }
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_TO_PAIRS_CUH_
