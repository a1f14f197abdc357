// Vectors of f32 to elements of every storage type: bit for bit what core/dtype.h does with one.
#ifndef PAGODA_CPU_STORE_ROWS_H_
#define PAGODA_CPU_STORE_ROWS_H_

#include "core/dtype.h"
#include "cpu/simd.h"

namespace pagoda::cpu {
namespace {

using RawU32 [[gnu::vector_size(kVectorBytes)]] = uint32_t;

// A small float format: the least magnitude that is stored like all above it, and its NaN.
template <int kExponentBitsOf, int kMantissaBitsOf>
struct SmallFormat {
  static constexpr int kExponentBits = kExponentBitsOf;
  static constexpr int kMantissaBits = kMantissaBitsOf;
  float limit;
  int32_t nan;
};

constexpr SmallFormat<5, 10> kF16Format{65536.0f, 0x7e00};  // the limit rounds to infinity
constexpr SmallFormat<4, 3> kE4M3Format{kE4M3Max, 0x7f};
constexpr SmallFormat<5, 2> kE5M2Format{kE5M2Max, 0x7e};

// round_magnitude() and what surrounds it, for a vector.
template <class Format>
PAGODA_HD RawI32 to_small(F32 x, Format format) {
  constexpr int kBias = (1 << (Format::kExponentBits - 1)) - 1;
  constexpr int kShift = 23 - Format::kMantissaBits;
  constexpr int32_t kSmallestNormal = (127 - kBias + 1) << 23;
  constexpr int32_t kMagic = (127 - kBias + 1 + kShift) << 23;
  const RawI32 bits = float_as_bits(x).raw;
  const RawI32 sign = bits & static_cast<int32_t>(0x80000000u);
  const RawI32 magnitude = bits & 0x7fffffff;
  const RawI32 limit = RawI32{} + bit_cast<int32_t>(format.limit);
  const RawI32 m = magnitude < limit ? magnitude : limit;

  const RawI32 odd = (m >> kShift) & 1;
  const RawI32 normal = (m + odd + (((1 << (kShift - 1)) - 1) - ((127 - kBias) << 23))) >> kShift;
  const F32 shifted = bits_as_float(I32(m)) + bits_as_float(I32(kMagic));
  const RawI32 subnormal = float_as_bits(shifted).raw - kMagic;

  RawI32 result = m < kSmallestNormal ? subnormal : normal;
  result = magnitude > 0x7f800000 ? RawI32{} + format.nan : result;
  constexpr int kSignShift = 31 - (Format::kExponentBits + Format::kMantissaBits);
  return result | bit_cast<RawI32>(RawU32(bit_cast<RawU32>(sign) >> kSignShift));
}

PAGODA_HD RawI32 to_bf16(F32 x) {
  const RawU32 bits = bit_cast<RawU32>(x.raw);
  const RawU32 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const RawU32 nan = (bits >> 16) | 0x40u;
  const RawI32 is_nan = bit_cast<RawI32>(RawU32(bits & 0x7fffffffu)) > 0x7f800000;
  return is_nan ? bit_cast<RawI32>(nan) : bit_cast<RawI32>(rounded);
}

PAGODA_HD RawI32 to_int8(F32 x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23 leaves the rounded integer in the low bits
  RawF32 value = x.raw > kInt8Max ? RawF32{} + kInt8Max : x.raw;
  value = value < -kInt8Max ? RawF32{} - kInt8Max : value;
  const RawI32 rounded = bit_cast<RawI32>(RawF32(value + kMagic)) - bit_cast<int32_t>(kMagic);
  return x.raw == x.raw ? rounded : RawI32{};
}

template <class Raw>
PAGODA_HD void store_low_bits(void* p, RawI32 lanes) {
  const Raw narrow = __builtin_convertvector(lanes, Raw);
  __builtin_memcpy(p, &narrow, sizeof(Raw));
}

PAGODA_HD void store_elements(float* p, F32 x) {
  x.store(p);
}
PAGODA_HD void store_elements(BFloat16* p, F32 x) {
  store_low_bits<RawU16>(p, to_bf16(x));
}
PAGODA_HD void store_elements(Float16* p, F32 x) {
  store_low_bits<RawU16>(p, to_small(x, kF16Format));
}
PAGODA_HD void store_elements(Float8E4M3* p, F32 x) {
  store_low_bits<RawU8>(p, to_small(x, kE4M3Format));
}
PAGODA_HD void store_elements(Float8E5M2* p, F32 x) {
  store_low_bits<RawU8>(p, to_small(x, kE5M2Format));
}
PAGODA_HD void store_elements(int8_t* p, F32 x) {
  store_low_bits<RawU8>(p, to_int8(x));
}

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_STORE_ROWS_H_
