// Vectors of bf16 pairs and their dot products, where the instruction set has them: twice the
// multiply-adds of f32. A product of two bf16 is exact in f32; sums are f32. Subnormals count as 0.
#ifndef PAGODA_CPU_BF16_PAIRS_H_
#define PAGODA_CPU_BF16_PAIRS_H_

#include "core/dtype.h"
#include "cpu/load_rows.h"
#include "cpu/simd.h"

#if defined(__AVX512BF16__)
#define PAGODA_HAS_BF16_DOT 1
#else
#define PAGODA_HAS_BF16_DOT 0
#endif

#if PAGODA_HAS_BF16_DOT
namespace pagoda::cpu {
namespace {

constexpr int kBf16Lanes = 2 * kLanes;

// kBf16Lanes elements; a pair is two neighbours, one 32-bit lane.
struct Bf16Pairs {
  RawI32 raw;

  PAGODA_HD static Bf16Pairs load(const BFloat16* p) {
    Bf16Pairs v;
    __builtin_memcpy(&v.raw, p, kVectorBytes);
    return v;
  }
  // `count` elements, zeros after them.
  PAGODA_HD static Bf16Pairs load(const BFloat16* p, int count) {
    if (count == kBf16Lanes) return load(p);
    return {bit_cast<RawI32>(_mm512_maskz_loadu_epi16((__mmask32{1} << count) - 1, p))};
  }
  // The same pair in every lane.
  PAGODA_HD static Bf16Pairs broadcast(const BFloat16* pair) {
    int32_t bits;
    __builtin_memcpy(&bits, pair, sizeof(bits));
    return {bits - RawI32{}};
  }
  PAGODA_HD void store(BFloat16* p) const { __builtin_memcpy(p, &raw, kVectorBytes); }
};

// sum + a.first * b.first + a.second * b.second, lane by lane.
PAGODA_HD F32 dot(Bf16Pairs a, Bf16Pairs b, F32 sum) {
  return F32(bit_cast<RawF32>(
      _mm512_dpbf16_ps(sum.raw, bit_cast<__m512bh>(a.raw), bit_cast<__m512bh>(b.raw))));
}

template <int... kIndex>
PAGODA_HD __m512i interleave_index(int first, std::integer_sequence<int, kIndex...>) {
  using RawI16 [[gnu::vector_size(kVectorBytes)]] = int16_t;
  const RawI16 index = {static_cast<int16_t>(kIndex / 2 + kIndex % 2 * kBf16Lanes)...};
  return bit_cast<__m512i>(RawI16(index + static_cast<int16_t>(first)));
}

// Lane i of the result is the pair {a[first + i], b[first + i]}, first = 0 or kLanes.
PAGODA_HD Bf16Pairs interleave(Bf16Pairs a, Bf16Pairs b, int first) {
  const __m512i index = interleave_index(first, std::make_integer_sequence<int, kBf16Lanes>());
  return {bit_cast<RawI32>(
      _mm512_permutex2var_epi16(bit_cast<__m512i>(a.raw), index, bit_cast<__m512i>(b.raw)))};
}

// Lane i of the result is the pair {x[i], x[kLanes + i]}.
PAGODA_HD Bf16Pairs zip_halves(Bf16Pairs x) {
  using RawI16 [[gnu::vector_size(kVectorBytes)]] = int16_t;
  RawI16 index;
  for (int i = 0; i < kBf16Lanes; ++i) index[i] = static_cast<int16_t>(i / 2 + i % 2 * kLanes);
  return {bit_cast<RawI32>(
      _mm512_permutexvar_epi16(bit_cast<__m512i>(index), bit_cast<__m512i>(x.raw)))};
}

// low and then high, rounded to nearest even.
PAGODA_HD Bf16Pairs to_bf16_pairs(F32 low, F32 high) {
  return {bit_cast<RawI32>(_mm512_cvtne2ps_pbh(high.raw, low.raw))};
}

// kLanes elements, rounded to nearest even.
PAGODA_HD void store_bf16(BFloat16* p, F32 x) {
  const __m256bh narrow = _mm512_cvtneps_pbh(x.raw);
  __builtin_memcpy(p, &narrow, sizeof(narrow));
}

// The bf16 of each magnitude of an 8-bit float.
struct Bf16Table {
  alignas(64) uint16_t bits[128];
};

constexpr uint16_t bf16_of_small(int magnitude, int mantissa_bits) {
  const int bias = (1 << (6 - mantissa_bits)) - 1;
  int mantissa = magnitude & ((1 << mantissa_bits) - 1);
  int exponent = magnitude >> mantissa_bits;
  if (magnitude == 0) return 0;
  if (exponent == 0) {
    // Subnormal: bf16 has room for its exponent.
    for (exponent = 1; (mantissa >> mantissa_bits) == 0; --exponent) mantissa <<= 1;
    mantissa -= 1 << mantissa_bits;
  }
  return static_cast<uint16_t>(((exponent - bias + 127) << 7) + (mantissa << (7 - mantissa_bits)));
}

constexpr Bf16Table kE4M3Table = [] {
  Bf16Table table{};
  for (int i = 0; i < 127; ++i) table.bits[i] = bf16_of_small(i, 3);
  table.bits[127] = 0x7fc0;  // NaN
  return table;
}();

constexpr Bf16Table kE5M2Table = [] {
  Bf16Table table{};
  for (int i = 0; i < 124; ++i) table.bits[i] = bf16_of_small(i, 2);
  for (int i = 124; i < 128; ++i) table.bits[i] = static_cast<uint16_t>(0x7f80 + ((i - 124) << 5));
  return table;
}();

constexpr Bf16Table kInt8Table = [] {
  Bf16Table table{};
  for (int i = 1; i < 128; ++i) {
    int exponent = 0;
    while (i >> (exponent + 1) != 0) ++exponent;
    table.bits[i] = static_cast<uint16_t>(((127 + exponent) << 7) + (i << (7 - exponent)) - 128);
  }
  return table;
}();

// Bits of `sign` where `mask` has ones, else those of `magnitude`.
PAGODA_HD __m512i select_sign(__m512i magnitude, __m512i sign, __m512i mask) {
  constexpr int kThird = 0xd8;  // its bit ? the second's : the first's
  return _mm512_ternarylogic_epi32(magnitude, sign, mask, kThird);
}

PAGODA_HD __mmask32 first_lanes(int count) {
  return count == kBf16Lanes ? ~__mmask32{0} : (__mmask32{1} << count) - 1;
}

// One lookup for each half of the magnitudes; the sign is put back.
PAGODA_HD Bf16Pairs look_up(const void* p, int count, const Bf16Table& table) {
  const __m512i x = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(first_lanes(count), p));
  const auto part = [&](int i) { return _mm512_load_si512(table.bits + i * kBf16Lanes); };
  const __m512i low = _mm512_permutex2var_epi16(part(0), x, part(1));
  const __m512i high = _mm512_permutex2var_epi16(part(2), x, part(3));
  const __mmask32 is_high = _mm512_test_epi16_mask(x, _mm512_set1_epi16(0x40));
  const __m512i magnitude = _mm512_mask_blend_epi16(is_high, low, high);
  return {bit_cast<RawI32>(
      select_sign(magnitude, _mm512_slli_epi16(x, 8), _mm512_set1_epi16(-0x8000)))};
}

// `count` elements, a multiple of 8, of any type; exact where held_by_bf16(). Zeros after them.
PAGODA_HD Bf16Pairs load_bf16(const BFloat16* p, int count) {
  return Bf16Pairs::load(p, count);
}
PAGODA_HD Bf16Pairs load_bf16(const Float8E4M3* p, int count) {
  return look_up(p, count, kE4M3Table);
}
PAGODA_HD Bf16Pairs load_bf16(const Float8E5M2* p, int count) {
  return look_up(p, count, kE5M2Table);
}
// Times `scale`, rounded to nearest even.
template <class T>
PAGODA_HD Bf16Pairs load_scaled_bf16(const T* p, int count, float scale) {
  const int low = count < kLanes ? count : kLanes;
  const F32 high = count > low ? load_elements(p + low, count - low) : F32(0.0f);
  return to_bf16_pairs(load_elements(p, low) * F32(scale), high * F32(scale));
}
template <class T>
PAGODA_HD Bf16Pairs load_bf16(const T* p, int count) {
  return load_scaled_bf16(p, count, 1.0f);
}

// 2 * kBf16Lanes elements.
template <class T>
PAGODA_HD void load_two(const T* p, Bf16Pairs* first, Bf16Pairs* second) {
  *first = load_bf16(p, kBf16Lanes);
  *second = load_bf16(p + kBf16Lanes, kBf16Lanes);
}

// interleave() of `count` elements of two rows, both halves.
template <class T>
PAGODA_HD void load_interleaved(const T* a, const T* b, int count, Bf16Pairs* first,
                                Bf16Pairs* second) {
  const Bf16Pairs from_a = load_bf16(a, count);
  const Bf16Pairs from_b = load_bf16(b, count);
  *first = interleave(from_a, from_b, 0);
  *second = interleave(from_a, from_b, kLanes);
}

#if defined(__AVX512VBMI__)
// The two bytes of a bf16 looked up apart, 64 at a time: twice as many as look_up() finds.
struct ByteTables {
  alignas(64) uint8_t low[128];
  alignas(64) uint8_t high[128];

  constexpr explicit ByteTables(const Bf16Table& table) : low(), high() {
    for (int i = 0; i < 128; ++i) {
      low[i] = static_cast<uint8_t>(table.bits[i] & 0xff);
      high[i] = static_cast<uint8_t>(table.bits[i] >> 8);
    }
  }
};

template <class T>
constexpr ByteTables kByteTables{kInt8Table};
template <>
constexpr ByteTables kByteTables<Float8E4M3>{kE4M3Table};
template <>
constexpr ByteTables kByteTables<Float8E5M2>{kE5M2Table};

using RawI8 [[gnu::vector_size(kVectorBytes)]] = int8_t;
using ByteIndex = std::make_integer_sequence<int, kVectorBytes>;

PAGODA_HD RawI8 look_up_bytes(const uint8_t (&table)[128], RawI8 index) {
  return bit_cast<RawI8>(_mm512_permutex2var_epi8(
      _mm512_load_si512(table), bit_cast<__m512i>(index), _mm512_load_si512(table + kVectorBytes)));
}

// Bytes of low and high as 16-bit elements: the first or second 8 of each 16.
template <int... kIndex>
PAGODA_HD Bf16Pairs join_bytes(RawI8 low, RawI8 high, int second,
                               std::integer_sequence<int, kIndex...>) {
  constexpr auto source = [](int i, int half) {
    return i / 16 * 16 + 8 * half + i % 16 / 2 + i % 2 * kVectorBytes;
  };
  return {second == 0 ? bit_cast<RawI32>(__builtin_shufflevector(low, high, source(kIndex, 0)...))
                      : bit_cast<RawI32>(__builtin_shufflevector(low, high, source(kIndex, 1)...))};
}

// x in bf16: of each 16 elements the first 8 become 8 of *first, the others 8 of *second.
template <class T>
PAGODA_HD void widen_bytes(RawI8 x, Bf16Pairs* first, Bf16Pairs* second) {
  constexpr bool kIsInt = std::is_same_v<T, int8_t>;
  const RawI8 index = kIsInt ? (x < 0 ? -x : x) : x;  // its lowest 7 bits
  const RawI8 low = look_up_bytes(kByteTables<T>.low, index);
  RawI8 high = look_up_bytes(kByteTables<T>.high, index);
  // The one magnitude that the table lacks.
  if constexpr (kIsInt) high = x == -128 ? RawI8{} + 0x43 : high;
  high = bit_cast<RawI8>(select_sign(bit_cast<__m512i>(high), bit_cast<__m512i>(x),
                                     bit_cast<__m512i>(RawI8{} + int8_t{-128})));
  *first = join_bytes(low, high, 0, ByteIndex());
  *second = join_bytes(low, high, 1, ByteIndex());
}

template <class T, int... kIndex>
PAGODA_HD void load_two_bytes(const T* p, Bf16Pairs* first, Bf16Pairs* second,
                              std::integer_sequence<int, kIndex...>) {
  RawI8 x;
  __builtin_memcpy(&x, p, kVectorBytes);
  x = __builtin_shufflevector(x, x, (kIndex / 16 * 8 + kIndex % 8 + kIndex % 16 / 8 * 32)...);
  widen_bytes<T>(x, first, second);
}

template <class T, int... kIndex>
PAGODA_HD void load_interleaved_bytes(const T* a, const T* b, int count, Bf16Pairs* first,
                                      Bf16Pairs* second, std::integer_sequence<int, kIndex...>) {
  const auto load = [&](const T* p) {
    return bit_cast<RawI8>(_mm512_zextsi256_si512(_mm256_maskz_loadu_epi8(first_lanes(count), p)));
  };
  // The pairs of channels 4 i to 4 i + 3 for *first, then those 16 channels on for *second.
  constexpr RawI8 kOrder = {static_cast<int8_t>(kIndex / 16 * 4 + kIndex % 8 / 2 +
                                                kIndex % 16 / 8 * 16 + kIndex % 2 * 64)...};
  const __m512i x = _mm512_permutex2var_epi8(bit_cast<__m512i>(load(a)), bit_cast<__m512i>(kOrder),
                                             bit_cast<__m512i>(load(b)));
  widen_bytes<T>(bit_cast<RawI8>(x), first, second);
}

// Of 8-bit types, in place of the above.
template <class T>
concept EightBits = sizeof(T) == 1;
template <EightBits T>
PAGODA_HD void load_two(const T* p, Bf16Pairs* first, Bf16Pairs* second) {
  load_two_bytes(p, first, second, ByteIndex());
}
template <EightBits T>
PAGODA_HD void load_interleaved(const T* a, const T* b, int count, Bf16Pairs* first,
                                Bf16Pairs* second) {
  load_interleaved_bytes(a, b, count, first, second, ByteIndex());
}
#endif

// As load_rows.h's, to bf16.
template <class T>
PAGODA_HD void load_row(BFloat16* destination, const T* source, int32_t head_dim) {
  int32_t d = 0;
  for (; d + 2 * kBf16Lanes <= head_dim; d += 2 * kBf16Lanes) {
    Bf16Pairs first, second;
    load_two(source + d, &first, &second);
    first.store(destination + d);
    second.store(destination + d + kBf16Lanes);
  }
  for (; d < head_dim; d += kBf16Lanes) {
    load_bf16(source + d, min_of(kBf16Lanes, head_dim - d)).store(destination + d);
  }
}

}  // namespace
}  // namespace pagoda::cpu
#endif  // PAGODA_HAS_BF16_DOT

#endif  // PAGODA_CPU_BF16_PAIRS_H_
