// What becomes f16 beside 8-bit K and V: they themselves, q and the weights.
#ifndef PAGODA_CUDA_KERNELS_TO_F16_CUH_
#define PAGODA_CUDA_KERNELS_TO_F16_CUH_

#include "core/arith.h"
#include "core/dtype.h"
#include "cuda/sm90/convert.cuh"

namespace pagoda::cuda {

// Four 8-bit elements to two pairs of f16, exactly.
PAGODA_DEVICE void to_f16_pairs(Float8E4M3, uint32_t bytes, uint32_t& low, uint32_t& high) {
  sm90::e4m3x4_to_f16x4(bytes, low, high);
}
PAGODA_DEVICE void to_f16_pairs(Float8E5M2, uint32_t bytes, uint32_t& low, uint32_t& high) {
  // The upper byte of an f16.
  low = sm90::permute_bytes(bytes, 0, 0x1404);
  high = sm90::permute_bytes(bytes, 0, 0x3424);
}
PAGODA_DEVICE void to_f16_pairs(int8_t, uint32_t bytes, uint32_t& low, uint32_t& high) {
  // 0x6400 + n is 1024 + n in f16, of which 1024 + 128 is taken off.
  const uint32_t from_zero = bytes ^ 0x80808080u;
  low = sm90::subtract_f16x2(sm90::permute_bytes(from_zero, 0x64646464u, 0x4140), 0x64806480u);
  high = sm90::subtract_f16x2(sm90::permute_bytes(from_zero, 0x64646464u, 0x4342), 0x64806480u);
}

// bf16 reaches further than f16: each row of q is multiplied by a power of two that brings its
// largest value just below 2^15, so that what is lost is 2^-39 of that value or less; the row's
// logits are multiplied by the inverse.

PAGODA_DEVICE float low_of_pair(uint32_t bf16_pair) {
  return to_float(BFloat16{static_cast<uint16_t>(bf16_pair)});
}
PAGODA_DEVICE float high_of_pair(uint32_t bf16_pair) {
  return to_float(BFloat16{static_cast<uint16_t>(bf16_pair >> 16)});
}

// The larger magnitude of a pair of bf16, but of what is not finite 0.
PAGODA_DEVICE float largest_finite(uint32_t pair) {
  const float low = fabsf(low_of_pair(pair));
  const float high = fabsf(high_of_pair(pair));
  return fmaxf(low < kInfinity ? low : 0.0f, high < kInfinity ? high : 0.0f);
}

// The power of two that brings values of up to `largest` below 2^15.
PAGODA_DEVICE float f16_factor(float largest) {
  constexpr uint32_t kBias = 127;
  const uint32_t exponent = __float_as_uint(largest) >> 23;
  return __uint_as_float(min_of(2 * kBias + 14 - exponent, kBias + 100) << 23);
}

PAGODA_DEVICE uint32_t bf16_to_f16_pair(uint32_t pair, float factor) {
  return sm90::pack_pair<Float16>(low_of_pair(pair) * factor, high_of_pair(pair) * factor);
}

// A key among very many may have little weight, and all together much: as f16, weights are kept
// 2^14 times as large as they are, far from where f16 ends. Sums and outputs are multiplied by
// kF16WeightUnit in the end.
constexpr float kF16WeightLog2 = 14.0f;
constexpr float kF16WeightUnit = 1.0f / 16384.0f;

// Scales of 8-bit K may be 0, but not what scores are multiplied by to become logits: that would
// make NaN of a hidden key's -inf. This takes 0's place.
constexpr float kSmallestNormal = 1.17549435e-38f;

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_TO_F16_CUH_
