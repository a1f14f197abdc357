// One vector of floats or ints, as wide as the instruction set that this file is compiled for.
// Compiler vector extensions give the operators; the few operations that they lack are intrinsics
// where the set has them. Everything is in an unnamed namespace: each instruction set's kernels
// are compiled from the same source, and no copy may be linked into another's code.
#ifndef PAGODA_CPU_SIMD_H_
#define PAGODA_CPU_SIMD_H_

#include <cstdint>
#include <utility>

#include "core/dtype.h"
#include "core/portability.h"
#include "semantics/score.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif
#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace pagoda::cpu {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
constexpr int kLanes = kVectorBytes / 4;

using RawF32 [[gnu::vector_size(kVectorBytes)]] = float;
using RawI32 [[gnu::vector_size(kVectorBytes)]] = int32_t;
using RawU16 [[gnu::vector_size(kVectorBytes / 2)]] = uint16_t;
using RawU8 [[gnu::vector_size(kVectorBytes / 4)]] = uint8_t;

// Lanes of -1 (true) or 0 (false).
struct Mask32 {
  RawI32 raw;
};

struct I32 {
  RawI32 raw;

  I32() = default;
  PAGODA_HD explicit I32(RawI32 r) : raw(r) {}
  PAGODA_HD explicit I32(int32_t x) : raw(x - RawI32{}) {}
  PAGODA_HD static I32 load(const int32_t* p) {
    I32 v;
    __builtin_memcpy(&v.raw, p, kVectorBytes);
    return v;
  }
  // 0, 1, 2 ...
  PAGODA_HD static I32 iota() {
    RawI32 r;
    for (int i = 0; i < kLanes; ++i) r[i] = i;
    return I32(r);
  }
};

struct F32 {
  RawF32 raw;

  F32() = default;
  PAGODA_HD explicit F32(RawF32 r) : raw(r) {}
  PAGODA_HD explicit F32(float x) : raw(x - RawF32{}) {}
  PAGODA_HD explicit F32(I32 x) : raw(__builtin_convertvector(x.raw, RawF32)) {}
  PAGODA_HD static F32 load(const float* p) {
    F32 v;
    __builtin_memcpy(&v.raw, p, kVectorBytes);
    return v;
  }
  PAGODA_HD void store(float* p) const { __builtin_memcpy(p, &raw, kVectorBytes); }
};

PAGODA_HD I32 operator+(I32 a, I32 b) {
  return I32(a.raw + b.raw);
}
PAGODA_HD I32 operator-(I32 a, I32 b) {
  return I32(a.raw - b.raw);
}
PAGODA_HD Mask32 operator<(I32 a, I32 b) {
  return {a.raw < b.raw};
}
PAGODA_HD Mask32 operator>=(I32 a, I32 b) {
  return {a.raw >= b.raw};
}

PAGODA_HD F32 operator+(F32 a, F32 b) {
  return F32(a.raw + b.raw);
}
PAGODA_HD F32 operator-(F32 a, F32 b) {
  return F32(a.raw - b.raw);
}
PAGODA_HD F32 operator*(F32 a, F32 b) {
  return F32(a.raw * b.raw);
}
PAGODA_HD F32 operator/(F32 a, F32 b) {
  return F32(a.raw / b.raw);
}
PAGODA_HD Mask32 operator<(F32 a, F32 b) {
  return {a.raw < b.raw};
}
PAGODA_HD Mask32 operator==(F32 a, F32 b) {
  return {a.raw == b.raw};
}

PAGODA_HD Mask32 operator&(Mask32 a, Mask32 b) {
  return {a.raw & b.raw};
}

PAGODA_HD Mask32 is_nan(F32 x) {
  return {x.raw != x.raw};
}

PAGODA_HD F32 select(Mask32 mask, F32 yes, F32 no) {
  return F32(mask.raw ? yes.raw : no.raw);
}

PAGODA_HD bool any(Mask32 mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask(bit_cast<__m512i>(mask.raw), bit_cast<__m512i>(mask.raw)) != 0;
#endif
  int32_t lanes = 0;
  for (int i = 0; i < kLanes; ++i) lanes |= mask.raw[i];
  return lanes != 0;
}

PAGODA_HD float bits_as_float(int32_t x) {
  return bit_cast<float>(x);
}
PAGODA_HD F32 bits_as_float(I32 x) {
  return F32(bit_cast<RawF32>(x.raw));
}
PAGODA_HD I32 float_as_bits(F32 x) {
  return I32(bit_cast<RawI32>(x.raw));
}

// a * b + c, rounded once where the set can.
PAGODA_HD F32 fma(F32 a, F32 b, F32 c) {
#if defined(__AVX512F__)
  return F32(RawF32(_mm512_fmadd_ps(a.raw, b.raw, c.raw)));
#elif defined(__FMA__)
  return F32(RawF32(_mm256_fmadd_ps(a.raw, b.raw, c.raw)));
#elif defined(__aarch64__)
  return F32(RawF32(vfmaq_f32(c.raw, a.raw, b.raw)));
#else
  return F32(a.raw * b.raw + c.raw);
#endif
}

// The larger; b if either is NaN.
PAGODA_HD F32 max_lanes(F32 a, F32 b) {
  return F32(a.raw > b.raw ? a.raw : b.raw);
}

PAGODA_HD F32 sqrt_of(F32 x) {
#if defined(__AVX512F__)
  return F32(RawF32(_mm512_maskz_sqrt_ps(0xffff, x.raw)));
#elif defined(__AVX2__)
  return F32(RawF32(_mm256_sqrt_ps(x.raw)));
#elif defined(__SSE2__)
  return F32(RawF32(_mm_sqrt_ps(x.raw)));
#else
  F32 y;
  for (int i = 0; i < kLanes; ++i) y.raw[i] = __builtin_sqrtf(x.raw[i]);
  return y;
#endif
}

// 2^(x * scale): relative error below 1e-7, 0 below 2^-126, NaN for NaN. x * scale <= 127.
// 2^y = 2^n 2^f with n the nearest integer; the polynomial is a minimax fit of 2^f.
PAGODA_HD F32 exp2_of(F32 x, F32 scale) {
  const F32 magic(12582912.0f);  // 1.5 * 2^23: adding it leaves n in the low bits
  const F32 shifted = fma(x, scale, magic);
  const F32 f = fma(x, scale, magic - shifted);
  F32 p(1.5345812e-4f);
  p = fma(p, f, F32(1.3399931e-3f));
  p = fma(p, f, F32(9.6184890e-3f));
  p = fma(p, f, F32(5.5503288e-2f));
  p = fma(p, f, F32(2.4022647e-1f));
  p = fma(p, f, F32(6.9314721e-1f));
  p = fma(p, f, F32(1.0f));
  const I32 exponent(RawI32((float_as_bits(shifted).raw << 23) + (127 << 23)));
  return select(shifted < magic - F32(126.0f), F32(0.0f), p * bits_as_float(exponent));
}
PAGODA_HD F32 exp2_of(F32 x) {
  return exp2_of(x, F32(1.0f));
}

// Relative error below 3e-7 for every finite x; NaN for NaN.
PAGODA_HD F32 tanh_of(F32 x) {
  const F32 magnitude = select(x < F32(0.0f), F32(0.0f) - x, x);
  // Small: x + x^3 P(x^2), a minimax fit of tanh on [0, 0.55].
  const F32 z = x * x;
  F32 p(2.5271446e-3f);
  p = fma(p, z, F32(-8.5269573e-3f));
  p = fma(p, z, F32(2.1818637e-2f));
  p = fma(p, z, F32(-5.3964725e-2f));
  p = fma(p, z, F32(1.3333324e-1f));
  p = fma(p, z, F32(-3.3333333e-1f));
  const F32 small = fma(x * z, p, x);
  // Large: 1 - 2 / (e^2|x| + 1), 1 in f32 from 9.1 on.
  const F32 clamped = select(F32(10.0f) < magnitude, F32(10.0f), magnitude);
  const F32 e = exp2_of(clamped * F32(2.0f * kLog2e));
  const F32 positive = F32(1.0f) - F32(2.0f) / (e + F32(1.0f));
  const F32 large = select(x < F32(0.0f), F32(0.0f) - positive, positive);
  return select(magnitude < F32(0.55f), small, large);
}

template <int kStep, int... kIndex>
PAGODA_HD void exchange_blocks(F32* a, F32* b, std::integer_sequence<int, kIndex...>) {
  const RawF32 x = a->raw;
  const RawF32 y = b->raw;
  a->raw = __builtin_shufflevector(x, y, ((kIndex & kStep) ? kLanes + kIndex - kStep : kIndex)...);
  b->raw = __builtin_shufflevector(x, y, ((kIndex & kStep) ? kLanes + kIndex : kIndex + kStep)...);
}

// Lane j of v[i] goes to lane i of v[j].
template <int kStep = kLanes / 2>
PAGODA_HD void transpose(F32 (&v)[kLanes]) {
  if constexpr (kStep > 0) {
    for (int i = 0; i < kLanes; ++i) {
      if ((i & kStep) != 0) continue;
      exchange_blocks<kStep>(&v[i], &v[i + kStep], std::make_integer_sequence<int, kLanes>());
    }
    transpose<kStep / 2>(v);
  }
}

// x with its lanes exchanged at distance kStep.
template <int kStep, int... kIndex>
PAGODA_HD F32 exchange(F32 x, std::integer_sequence<int, kIndex...>) {
  return F32(__builtin_shufflevector(x.raw, x.raw, (kIndex ^ kStep)...));
}

template <int kStep = kLanes / 2>
PAGODA_HD float sum_lanes(F32 x) {
  if constexpr (kStep == 0) {
    return x.raw[0];
  } else {
    x = x + exchange<kStep>(x, std::make_integer_sequence<int, kLanes>());
    return sum_lanes<kStep / 2>(x);
  }
}

// NaN lanes do not count.
template <int kStep = kLanes / 2>
PAGODA_HD float max_lane(F32 x) {
  if constexpr (kStep == 0) {
    return x.raw[0];
  } else {
    x = max_lanes(x, exchange<kStep>(x, std::make_integer_sequence<int, kLanes>()));
    return max_lane<kStep / 2>(x);
  }
}

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_SIMD_H_
