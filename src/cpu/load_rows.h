// Elements of every storage type to vectors of f32, exactly.
#ifndef PAGODA_CPU_LOAD_ROWS_H_
#define PAGODA_CPU_LOAD_ROWS_H_

#include <type_traits>

#include "core/dtype.h"
#include "cpu/simd.h"

namespace pagoda::cpu {
namespace {

// kCount elements of `Raw`'s type, zeros after them.
template <class Raw>
PAGODA_HD Raw load_raw(const void* p, int count) {
  Raw r{};
  if (count == kLanes) {
    __builtin_memcpy(&r, p, sizeof(Raw));
  } else {
    // head_dim is a multiple of 8, so a part of a vector is half a 16-lane one.
    __builtin_memcpy(&r, p, sizeof(Raw) / 2);
  }
  return r;
}

// Zero extension to 32 bits. The compilers' own conversion takes halves of wide vectors apart.
PAGODA_HD RawI32 widen(RawU16 r) {
#if defined(__AVX512F__)
  return bit_cast<RawI32>(_mm512_maskz_cvtepu16_epi32(0xffff, bit_cast<__m256i>(r)));
#elif defined(__AVX2__)
  return bit_cast<RawI32>(_mm256_cvtepu16_epi32(bit_cast<__m128i>(r)));
#else
  return __builtin_convertvector(r, RawI32);
#endif
}
PAGODA_HD RawI32 widen(RawU8 r) {
#if defined(__AVX512F__)
  return bit_cast<RawI32>(_mm512_maskz_cvtepu8_epi32(0xffff, bit_cast<__m128i>(r)));
#elif defined(__AVX2__)
  return bit_cast<RawI32>(_mm256_cvtepu8_epi32(_mm_set_epi64x(0, bit_cast<int64_t>(r))));
#else
  return __builtin_convertvector(r, RawI32);
#endif
}

PAGODA_HD F32 widen_bf16(RawU16 r) {
  const RawI32 wide = widen(r);
  return bits_as_float(I32(RawI32(wide << 16)));
}

PAGODA_HD F32 widen_f16(RawU16 r) {
#if defined(__AVX512F__)
  return F32(RawF32(_mm512_maskz_cvtph_ps(0xffff, bit_cast<__m256i>(r))));
#elif defined(__F16C__)
  return F32(RawF32(_mm256_cvtph_ps(bit_cast<__m128i>(r))));
#elif defined(__aarch64__)
  return F32(RawF32(vcvt_f32_f16(bit_cast<float16x4_t>(r))));
#else
  const RawI32 bits = __builtin_convertvector(r, RawI32);
  const RawI32 magnitude = bits & 0x7fff;
  const RawI32 sign = (bits & 0x8000) << 16;
  const RawI32 normal = (magnitude << 13) + (112 << 23);
  const RawI32 special = (magnitude << 13) | 0x7f800000;
  const I32 smallest(113 << 23);
  const F32 subnormal =
      bits_as_float(I32(RawI32((magnitude << 13) + (113 << 23)))) - bits_as_float(smallest);
  RawI32 result = magnitude < 0x400 ? float_as_bits(subnormal).raw : normal;
  result = magnitude >= 0x7c00 ? special : result;
  return bits_as_float(I32(RawI32(result | sign)));
#endif
}

PAGODA_HD F32 widen_e4m3(RawU8 r) {
  const RawI32 bits = widen(r);
  const RawI32 magnitude = bits & 0x7f;
  const RawI32 sign = (bits & 0x80) << 24;
  const RawI32 normal = (magnitude << 20) + (120 << 23);
  const I32 smallest(121 << 23);
  const F32 subnormal =
      bits_as_float(I32(RawI32((magnitude << 20) + (121 << 23)))) - bits_as_float(smallest);
  RawI32 result = magnitude < 8 ? float_as_bits(subnormal).raw : normal;
  result = magnitude == 0x7f ? RawI32{} + 0x7fc00000 : result;
  return bits_as_float(I32(RawI32(result | sign)));
}

// kLanes elements from p on; with count = kLanes / 2, that many and zeros.
PAGODA_HD F32 load_elements(const float* p, int count) {
  return F32(load_raw<RawF32>(p, count));
}
PAGODA_HD F32 load_elements(const BFloat16* p, int count) {
  return widen_bf16(load_raw<RawU16>(p, count));
}
PAGODA_HD F32 load_elements(const Float16* p, int count) {
  return widen_f16(load_raw<RawU16>(p, count));
}
PAGODA_HD F32 load_elements(const Float8E4M3* p, int count) {
  return widen_e4m3(load_raw<RawU8>(p, count));
}
// e5m2 is the upper byte of f16.
PAGODA_HD F32 load_elements(const Float8E5M2* p, int count) {
  const RawU16 wide = __builtin_convertvector(load_raw<RawU8>(p, count), RawU16);
  return widen_f16(RawU16(wide << 8));
}
PAGODA_HD F32 load_elements(const int8_t* p, int count) {
  // Sign extension: shift the byte up, then down again.
  const RawI32 wide = widen(load_raw<RawU8>(p, count)) << 24;
  return F32(I32(RawI32(wide >> 24)));
}

// kernels.h's held_by_bf16(), of a C++ type.
template <class T>
constexpr bool kHeldByBf16 = sizeof(T) == 1 || std::is_same_v<T, BFloat16>;

// Calls visit(T{}) with the C++ type of `dtype`.
template <class Visitor>
PAGODA_HD void visit_dtype(DType dtype, Visitor&& visit) {
  switch (dtype) {
    case DType::kFloat32:
      return visit(float{});
    case DType::kFloat16:
      return visit(Float16{});
    case DType::kBFloat16:
      return visit(BFloat16{});
    case DType::kFloat8E4M3:
      return visit(Float8E4M3{});
    case DType::kFloat8E5M2:
      return visit(Float8E5M2{});
    default:
      return visit(int8_t{});
  }
}

// head_dim elements to f32; the destination has room for whole vectors and gets zeros there.
template <class T>
PAGODA_HD void load_row(float* destination, const T* source, int32_t head_dim) {
  int32_t d = 0;
  for (; d + kLanes <= head_dim; d += kLanes) {
    load_elements(source + d, kLanes).store(destination + d);
  }
  if (d < head_dim) load_elements(source + d, kLanes / 2).store(destination + d);
}

// In place; of whole vectors.
PAGODA_HD void scale_row(float* row, float scale, int32_t head_dim) {
  for (int32_t d = 0; d < head_dim; d += kLanes) (F32::load(row + d) * F32(scale)).store(row + d);
}

// A difference that is not 0 is NaN: of infinities, or of NaN.
template <class T>
PAGODA_HD bool is_finite_row(const T* row, int32_t head_dim) {
  F32 zero(0.0f);
  int32_t d = 0;
  const auto step = [&](int count) {
    const F32 x = load_elements(row + d, count);
    zero = zero + (x - x);
  };
  for (; d + kLanes <= head_dim; d += kLanes) step(kLanes);
  if (d < head_dim) step(kLanes / 2);
  return sum_lanes(zero) == 0.0f;
}

// Into L2. Always inlined, with all that calls it: g++ drops calls of functions that do nothing but
// prefetch.
constexpr int32_t kLineBytes = 64;
PAGODA_HD void prefetch_row(const char* row, int32_t bytes) {
  for (; bytes >= 4 * kLineBytes; bytes -= 4 * kLineBytes, row += 4 * kLineBytes) {
    for (int i = 0; i < 4; ++i) __builtin_prefetch(row + i * kLineBytes, 0, 2);
  }
  for (; bytes > 0; bytes -= kLineBytes, row += kLineBytes) __builtin_prefetch(row, 0, 2);
}
PAGODA_HD void prefetch_rows(const char* a, const char* b, int32_t bytes) {
  for (int32_t i = 0; i < bytes; i += kLineBytes) {
    __builtin_prefetch(a + i, 0, 2);
    __builtin_prefetch(b + i, 0, 2);
  }
}

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_LOAD_ROWS_H_
