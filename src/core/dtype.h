// 16- and 8-bit float formats and their exact conversions, host and device, without hardware help.
// Vector code has faster forms of the same conversions; the tests hold them to these.
#ifndef PAGODA_CORE_DTYPE_H_
#define PAGODA_CORE_DTYPE_H_

#include "core/portability.h"
#include "pagoda/types.h"

namespace pagoda {

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};
struct Float8E4M3 {
  uint8_t bits;
};
struct Float8E5M2 {
  uint8_t bits;
};

constexpr float kE4M3Max = 448.0f;
constexpr float kE5M2Max = 57344.0f;
constexpr float kInt8Max = 127.0f;

PAGODA_HD bool is_nan_bits(uint32_t float_bits) {
  return (float_bits & 0x7fffffffu) > 0x7f800000u;
}

PAGODA_HD float to_float(float x) {
  return x;
}

PAGODA_HD float to_float(BFloat16 x) {
  return bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}

// A float with `kExponentBits` and `kMantissaBits`, all of whose values f32 holds exactly.
template <int kExponentBits, int kMantissaBits>
PAGODA_HD float small_to_float(uint32_t bits) {
  constexpr uint32_t kBias = (1u << (kExponentBits - 1)) - 1;
  constexpr int kShift = 23 - kMantissaBits;
  const uint32_t sign = (bits >> (kExponentBits + kMantissaBits)) << 31;
  const uint32_t magnitude = bits & ((1u << (kExponentBits + kMantissaBits)) - 1);
  const uint32_t exponent = magnitude >> kMantissaBits;
  uint32_t result;
  if (exponent == 0) {
    // Subnormal: give it the smallest normal exponent, then take the implicit one away.
    constexpr uint32_t kSmallest = (127u - kBias + 1u) << 23;
    const float value =
        bit_cast<float>(kSmallest + (magnitude << kShift)) - bit_cast<float>(kSmallest);
    result = bit_cast<uint32_t>(value);
  } else {
    result = (magnitude << kShift) + ((127u - kBias) << 23);
  }
  return bit_cast<float>(result | sign);
}

PAGODA_HD float to_float(Float16 x) {
  const uint32_t magnitude = x.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) {
    const uint32_t sign = static_cast<uint32_t>(x.bits >> 15) << 31;
    return bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  }
  return small_to_float<5, 10>(x.bits);
}

PAGODA_HD float to_float(Float8E4M3 x) {
  if ((x.bits & 0x7f) == 0x7f) return bit_cast<float>(0x7fc00000u);
  return small_to_float<4, 3>(x.bits);
}

// e5m2 is the upper byte of f16.
PAGODA_HD float to_float(Float8E5M2 x) {
  return to_float(Float16{static_cast<uint16_t>(x.bits << 8)});
}

PAGODA_HD float to_float(int8_t x) {
  return static_cast<float>(x);
}

// Rounds the magnitude of a finite, in-range f32 to a small format, to nearest even.
template <int kExponentBits, int kMantissaBits>
PAGODA_HD uint32_t round_magnitude(uint32_t float_magnitude) {
  constexpr uint32_t kBias = (1u << (kExponentBits - 1)) - 1;
  constexpr int kShift = 23 - kMantissaBits;
  constexpr uint32_t kSmallestNormal = (127u - kBias + 1u) << 23;
  if (float_magnitude < kSmallestNormal) {
    // Adding a power of two whose last place is the format's smallest step makes f32 round.
    constexpr uint32_t kMagic = (127u - kBias + 1u + kShift) << 23;
    const float sum = bit_cast<float>(float_magnitude) + bit_cast<float>(kMagic);
    return bit_cast<uint32_t>(sum) - kMagic;
  }
  const uint32_t odd = (float_magnitude >> kShift) & 1u;
  const uint32_t rounded = float_magnitude + ((1u << (kShift - 1)) - 1u) + odd;
  return (rounded - ((127u - kBias) << 23)) >> kShift;
}

PAGODA_HD BFloat16 to_bfloat16(float x) {
  uint32_t bits = bit_cast<uint32_t>(x);
  if (is_nan_bits(bits)) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  bits += 0x7fffu + ((bits >> 16) & 1u);
  return {static_cast<uint16_t>(bits >> 16)};
}

PAGODA_HD Float16 to_float16(float x) {
  const uint32_t bits = bit_cast<uint32_t>(x);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t result;
  if (is_nan_bits(bits)) {
    result = 0x7e00u;
  } else if (magnitude >= 0x477ff000u) {  // 65520 and more round to infinity
    result = 0x7c00u;
  } else {
    result = round_magnitude<5, 10>(magnitude);
  }
  return {static_cast<uint16_t>(result | sign)};
}

// Saturating: infinities and everything too large become 448, NaN stays NaN.
PAGODA_HD Float8E4M3 to_float8_e4m3(float x) {
  const uint32_t bits = bit_cast<uint32_t>(x);
  const uint32_t sign = (bits >> 24) & 0x80u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t result;
  if (is_nan_bits(bits)) {
    result = 0x7fu;
  } else if (magnitude >= bit_cast<uint32_t>(kE4M3Max)) {
    result = 0x7eu;
  } else {
    result = round_magnitude<4, 3>(magnitude);
  }
  return {static_cast<uint8_t>(result | sign)};
}

// Saturating: infinities and everything too large become 57344, NaN stays NaN.
PAGODA_HD Float8E5M2 to_float8_e5m2(float x) {
  const uint32_t bits = bit_cast<uint32_t>(x);
  const uint32_t sign = (bits >> 24) & 0x80u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t result;
  if (is_nan_bits(bits)) {
    result = 0x7eu;
  } else if (magnitude >= bit_cast<uint32_t>(kE5M2Max)) {
    result = 0x7bu;
  } else {
    result = round_magnitude<5, 2>(magnitude);
  }
  return {static_cast<uint8_t>(result | sign)};
}

// Saturating, to nearest even; NaN becomes 0.
PAGODA_HD int8_t to_int8(float x) {
  if (!(x == x)) return 0;
  if (x >= kInt8Max) return 127;
  if (x <= -kInt8Max) return -127;
  // Adding 1.5 * 2^23 leaves the rounded integer in the low bits.
  constexpr float kMagic = 12582912.0f;
  return static_cast<int8_t>(bit_cast<int32_t>(x + kMagic) - bit_cast<int32_t>(kMagic));
}

// Element `index` of an array of f32, f16 or bf16, as f32.
PAGODA_HD float load_wide_float(const void* data, DType dtype, int64_t index) {
  if (dtype == DType::kFloat32) return static_cast<const float*>(data)[index];
  if (dtype == DType::kFloat16) return to_float(static_cast<const Float16*>(data)[index]);
  return to_float(static_cast<const BFloat16*>(data)[index]);
}

// Element `index` of a typed array, as f32.
PAGODA_HD float load_element(const void* data, DType dtype, int64_t index) {
  switch (dtype) {
    case DType::kFloat32:
      return static_cast<const float*>(data)[index];
    case DType::kFloat16:
      return to_float(static_cast<const Float16*>(data)[index]);
    case DType::kBFloat16:
      return to_float(static_cast<const BFloat16*>(data)[index]);
    case DType::kFloat8E4M3:
      return to_float(static_cast<const Float8E4M3*>(data)[index]);
    case DType::kFloat8E5M2:
      return to_float(static_cast<const Float8E5M2*>(data)[index]);
    default:
      return to_float(static_cast<const int8_t*>(data)[index]);
  }
}

// Stores f32 as element `index` of a typed array, rounding to nearest even; 8-bit types saturate.
PAGODA_HD void store_element(void* data, DType dtype, int64_t index, float x) {
  switch (dtype) {
    case DType::kFloat32:
      static_cast<float*>(data)[index] = x;
      break;
    case DType::kFloat16:
      static_cast<Float16*>(data)[index] = to_float16(x);
      break;
    case DType::kBFloat16:
      static_cast<BFloat16*>(data)[index] = to_bfloat16(x);
      break;
    case DType::kFloat8E4M3:
      static_cast<Float8E4M3*>(data)[index] = to_float8_e4m3(x);
      break;
    case DType::kFloat8E5M2:
      static_cast<Float8E5M2*>(data)[index] = to_float8_e5m2(x);
      break;
    default:
      static_cast<int8_t*>(data)[index] = to_int8(x);
      break;
  }
}

}  // namespace pagoda

#endif  // PAGODA_CORE_DTYPE_H_
