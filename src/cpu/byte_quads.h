// Vectors of four bytes a lane and their dot products, where the instruction set has them: twice
// the multiply-adds of bf16 pairs, exact in 32 bits.
#ifndef PAGODA_CPU_BYTE_QUADS_H_
#define PAGODA_CPU_BYTE_QUADS_H_

#include "cpu/simd.h"

#if defined(__AVX512VNNI__)
#define PAGODA_HAS_BYTE_DOT 1
#else
#define PAGODA_HAS_BYTE_DOT 0
#endif

#if PAGODA_HAS_BYTE_DOT
namespace pagoda::cpu {
namespace {

constexpr int kQuad = 4;         // bytes of a lane
constexpr int kQuadVectors = 4;  // of the quads of kVectorBytes channels

struct ByteQuads {
  RawI32 raw;

  // The same quad in every lane.
  PAGODA_HD static ByteQuads broadcast(const uint8_t* quad) {
    int32_t bits;
    __builtin_memcpy(&bits, quad, sizeof(bits));
    return {bits - RawI32{}};
  }
};

// sum + the four products of an unsigned byte of a and a signed one of b, lane by lane.
PAGODA_HD I32 dot(ByteQuads a, ByteQuads b, I32 sum) {
  return I32(bit_cast<RawI32>(_mm512_dpbusd_epi32(
      bit_cast<__m512i>(sum.raw), bit_cast<__m512i>(a.raw), bit_cast<__m512i>(b.raw))));
}

// Lane i of quads[j] is channel j * kLanes + i of the four rows at `offsets`; `count` channels,
// then zeros.
PAGODA_HD void load_quads(const int8_t* rows, const int64_t* offsets, int count,
                          ByteQuads (&quads)[kQuadVectors]) {
  // Lane 4 i + j of a row to lane 4 j + i, since what follows works on blocks of 16 bytes.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __mmask64 mask = ~__mmask64{0} >> (kVectorBytes - count);
  __m512i row[kQuad];
  for (int i = 0; i < kQuad; ++i) {
    row[i] = _mm512_maskz_permutexvar_epi32(0xffff, order,
                                            _mm512_maskz_loadu_epi8(mask, rows + offsets[i]));
  }
  const __m512i low[] = {_mm512_unpacklo_epi8(row[0], row[1]),
                         _mm512_unpacklo_epi8(row[2], row[3])};
  const __m512i high[] = {_mm512_unpackhi_epi8(row[0], row[1]),
                          _mm512_unpackhi_epi8(row[2], row[3])};
  quads[0] = {bit_cast<RawI32>(_mm512_unpacklo_epi16(low[0], low[1]))};
  quads[1] = {bit_cast<RawI32>(_mm512_unpackhi_epi16(low[0], low[1]))};
  quads[2] = {bit_cast<RawI32>(_mm512_unpacklo_epi16(high[0], high[1]))};
  quads[3] = {bit_cast<RawI32>(_mm512_unpackhi_epi16(high[0], high[1]))};
}

// The two bytes of each lane of x, 0 to 65535, rounded to nearest even.
PAGODA_HD void store_bytes(F32 x, uint8_t* high, uint8_t* low) {
  const __m512i bits = _mm512_maskz_cvtps_epi32(0xffff, x.raw);
  const __m128i low_bytes = _mm512_maskz_cvtepi32_epi8(0xffff, bits);
  const __m128i high_bytes =
      _mm512_maskz_cvtepi32_epi8(0xffff, _mm512_maskz_srli_epi32(0xffff, bits, 8));
  __builtin_memcpy(low, &low_bytes, sizeof(low_bytes));
  __builtin_memcpy(high, &high_bytes, sizeof(high_bytes));
}

}  // namespace
}  // namespace pagoda::cpu
#endif  // PAGODA_HAS_BYTE_DOT

#endif  // PAGODA_CPU_BYTE_QUADS_H_
