// Conversions and fast functions on one value or a packed pair; the first of a pair is the low
// half.
#ifndef PAGODA_CUDA_SM90_CONVERT_CUH_
#define PAGODA_CUDA_SM90_CONVERT_CUH_

#include <type_traits>

#include "core/dtype.h"
#include "cuda/sm90/device.cuh"

namespace pagoda::sm90 {

// cvt.rn.f16x2.e4m3x2 (Data Movement: cvt): exact.
PAGODA_DEVICE uint32_t e4m3x2_to_f16x2(uint16_t pair) {
  uint32_t result;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(result) : "h"(pair));
  return result;
}

// The same for two pairs: the conversion reads either half of a register.
PAGODA_DEVICE void e4m3x4_to_f16x4(uint32_t bytes, uint32_t& low, uint32_t& high) {
  asm("{\n"
      ".reg .b16 pair<2>;\n"
      "mov.b32 {pair0, pair1}, %2;\n"
      "cvt.rn.f16x2.e4m3x2 %0, pair0;\n"
      "cvt.rn.f16x2.e4m3x2 %1, pair1;\n"
      "}\n"
      : "=r"(low), "=r"(high)
      : "r"(bytes));
}

// cvt.rn.f16x2.e5m2x2: exact.
PAGODA_DEVICE uint32_t e5m2x2_to_f16x2(uint16_t pair) {
  uint32_t result;
  asm("cvt.rn.f16x2.e5m2x2 %0, %1;" : "=r"(result) : "h"(pair));
  return result;
}

// prmt.b32 (Data Movement: prmt): byte i of the result is byte `selector`'s hexadecimal digit i of
// low, 0-3, and high, 4-7.
PAGODA_DEVICE uint32_t permute_bytes(uint32_t low, uint32_t high, uint32_t selector) {
  uint32_t result;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(low), "r"(high), "r"(selector));
  return result;
}

// sub.rn.f16x2 (Half Precision Floating Point Instructions: sub)
PAGODA_DEVICE uint32_t subtract_f16x2(uint32_t x, uint32_t y) {
  uint32_t result;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(result) : "r"(x), "r"(y));
  return result;
}

// cvt.f32.f16 (Data Movement: cvt): exact.
PAGODA_DEVICE float f16_to_f32(uint16_t x) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(x));
  return result;
}

// cvt.rn.satfinite.e4m3x2.f32: to nearest even; what is too large becomes +-448.
PAGODA_DEVICE uint16_t pack_e4m3x2(float low, float high) {
  uint16_t result;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(result) : "f"(high), "f"(low));
  return result;
}

// cvt.rn.satfinite.e5m2x2.f32: to nearest even; what is too large becomes +-57344.
PAGODA_DEVICE uint16_t pack_e5m2x2(float low, float high) {
  uint16_t result;
  asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(result) : "f"(high), "f"(low));
  return result;
}

// cvt.rni.s32.f32: to nearest even, saturating; NaN becomes 0.
PAGODA_DEVICE int32_t round_to_s32(float x) {
  int32_t result;
  asm("cvt.rni.s32.f32 %0, %1;" : "=r"(result) : "f"(x));
  return result;
}

// cvt.pack.sat.s8.s32.b32 (Data Movement: cvt.pack): two bytes, saturating, the first the lowest;
// above them the low half of `upper`.
PAGODA_DEVICE uint32_t pack_s8x2(int32_t first, int32_t second, uint32_t upper) {
  uint32_t result;
  asm("cvt.pack.sat.s8.s32.b32 %0, %1, %2, %3;"
      : "=r"(result)
      : "r"(second), "r"(first), "r"(upper));
  return result;
}

PAGODA_DEVICE uint32_t pack_s8x4(int32_t first, int32_t second, int32_t third, int32_t fourth) {
  return pack_s8x2(first, second, pack_s8x2(third, fourth, 0));
}

// cvt.rn.bf16x2.f32, cvt.rn.f16x2.f32: to nearest even; T is BFloat16 or Float16.
template <class T>
PAGODA_DEVICE uint32_t pack_pair(float low, float high) {
  static_assert(std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>);
  uint32_t result;
  if constexpr (std::is_same_v<T, BFloat16>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  }
  return result;
}

// fma.rn.bf16x2, fma.rn.f16x2 (Half Precision Floating Point Instructions: fma): a * b + c.
template <class T>
PAGODA_DEVICE uint32_t fma_pair(uint32_t a, uint32_t b, uint32_t c) {
  static_assert(std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>);
  uint32_t result;
  if constexpr (std::is_same_v<T, BFloat16>) {
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
  } else {
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
  }
  return result;
}

// ex2.approx.ftz.f32 (Floating Point Instructions: ex2): 2^x, relative error below 2^-22.
PAGODA_DEVICE float exp2_approx(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// ex2.approx.f16x2 (Half Precision Floating Point Instructions: ex2): error about 2^-10.
PAGODA_DEVICE uint32_t exp2_approx_f16x2(uint32_t pair) {
  uint32_t result;
  asm("ex2.approx.f16x2 %0, %1;" : "=r"(result) : "r"(pair));
  return result;
}

// lg2.approx.ftz.f32 (Floating Point Instructions: lg2)
PAGODA_DEVICE float log2_approx(float x) {
  float result;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// rcp.approx.ftz.f32 (Floating Point Instructions: rcp): error within 1 ulp.
PAGODA_DEVICE float reciprocal_approx(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// tanh.approx.f32 (Floating Point Instructions: tanh): relative error about 2^-11.
PAGODA_DEVICE float tanh_approx(float x) {
  float result;
  asm("tanh.approx.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

}  // namespace pagoda::sm90

#endif  // PAGODA_CUDA_SM90_CONVERT_CUH_
