// A row of elements in global memory, taken in chunks: eight at a time in accesses of up to 16
// bytes, or, where the type is known at run time only, one at a time.
#ifndef PAGODA_CUDA_KERNELS_CACHE_ROW_CUH_
#define PAGODA_CUDA_KERNELS_CACHE_ROW_CUH_

#include <type_traits>

#include "core/attention_params.h"
#include "core/dtype.h"
#include "cuda/kernels/cache/row_lanes.h"
#include "cuda/sm90/convert.cuh"
#include "cuda/sm90/ldst.cuh"

namespace pagoda::cuda {

// Stands for an element type that is known at run time only.
struct AnyType {};

// 8, 16 or 32 bytes, read or written in one or two accesses.
template <int kCount>
struct alignas(min_of(4 * kCount, 16)) Words {
  uint32_t of[kCount];
};

// Left to itself, the compiler may store word by word.
template <int kCount>
PAGODA_DEVICE void store_words(void* to, const Words<kCount>& words) {
  const auto& of = words.of;
  if constexpr (kCount == 2) {
    sm90::store_global_8(to, {of[0], of[1]});
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      sm90::store_global_16(static_cast<uint4*>(to) + i / 4,
                            {of[i], of[i + 1], of[i + 2], of[i + 3]});
    }
  }
}

// The vectors of a type: eight elements.
template <class T>
struct Vector {
  static constexpr int kElements = 8;
  using Bits = Words<kElements * sizeof(T) / 4>;

  PAGODA_DEVICE static void widen(const Bits& bits, float (&values)[kElements]) {
#pragma unroll
    for (int i = 0; i < kElements / 2; ++i) {
      const uint32_t pair = bits.of[i];  // of 16-bit elements
      values[2 * i] = widen_16(static_cast<uint16_t>(pair));
      values[2 * i + 1] = widen_16(static_cast<uint16_t>(pair >> 16));
    }
  }

  // To nearest even.
  PAGODA_DEVICE static Bits narrow(const float (&values)[kElements]) {
    Bits bits;
#pragma unroll
    for (int i = 0; i < kElements / 2; ++i) {
      bits.of[i] = sm90::pack_pair<T>(values[2 * i], values[2 * i + 1]);
    }
    return bits;
  }

 private:
  PAGODA_DEVICE static float widen_16(uint16_t x) {
    if constexpr (std::is_same_v<T, Float16>) {
      return sm90::f16_to_f32(x);
    } else {
      return to_float(BFloat16{x});
    }
  }
};

template <>
struct Vector<float> {
  static constexpr int kElements = 8;
  using Bits = Words<8>;

  PAGODA_DEVICE static void widen(const Bits& bits, float (&values)[8]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] = bit_cast<float>(bits.of[i]);
  }
  PAGODA_DEVICE static Bits narrow(const float (&values)[8]) {
    Bits bits;
#pragma unroll
    for (int i = 0; i < 8; ++i) bits.of[i] = bit_cast<uint32_t>(values[i]);
    return bits;
  }
};

template <>
struct Vector<int8_t> {
  static constexpr int kElements = 8;
  using Bits = Words<2>;

  PAGODA_DEVICE static void widen(const Bits& bits, float (&values)[8]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      values[i] = to_float(static_cast<int8_t>(bits.of[i / 4] >> (8 * (i % 4))));
    }
  }
  // As to_int8().
  PAGODA_DEVICE static Bits narrow(const float (&values)[8]) {
    int32_t rounded[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) rounded[i] = max_of(sm90::round_to_s32(values[i]), -127);
    return {sm90::pack_s8x4(rounded[0], rounded[1], rounded[2], rounded[3]),
            sm90::pack_s8x4(rounded[4], rounded[5], rounded[6], rounded[7])};
  }
};

// fp8, two at a time.
template <class T>
struct Fp8Vector {
  static constexpr int kElements = 8;
  using Bits = Words<2>;

  PAGODA_DEVICE static void widen(const Bits& bits, float (&values)[8]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const auto pair = static_cast<uint16_t>(bits.of[i / 2] >> (16 * (i % 2)));
      const uint32_t wide =
          std::is_same_v<T, Float8E4M3> ? sm90::e4m3x2_to_f16x2(pair) : sm90::e5m2x2_to_f16x2(pair);
      values[2 * i] = sm90::f16_to_f32(static_cast<uint16_t>(wide));
      values[2 * i + 1] = sm90::f16_to_f32(static_cast<uint16_t>(wide >> 16));
    }
  }
  // To nearest even, saturating.
  PAGODA_DEVICE static Bits narrow(const float (&values)[8]) {
    Bits bits{};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t pair = std::is_same_v<T, Float8E4M3>
                                ? sm90::pack_e4m3x2(values[2 * i], values[2 * i + 1])
                                : sm90::pack_e5m2x2(values[2 * i], values[2 * i + 1]);
      bits.of[i / 2] |= pair << (16 * (i % 2));
    }
    return bits;
  }
};
template <>
struct Vector<Float8E4M3> : Fp8Vector<Float8E4M3> {};
template <>
struct Vector<Float8E5M2> : Fp8Vector<Float8E5M2> {};

template <class T>
class Row {
 public:
  static constexpr int kChunk = Vector<T>::kElements;
  using Bits = typename Vector<T>::Bits;

  PAGODA_DEVICE Row(void* data, DType, int64_t offset) : data_(static_cast<T*>(data) + offset) {}

  PAGODA_DEVICE void advance(int64_t elements) { data_ += elements; }

  PAGODA_DEVICE Bits load(int32_t first) const {
    return *reinterpret_cast<const Bits*>(data_ + first);
  }
  PAGODA_DEVICE void store(int32_t first, const Bits& bits) const {
    store_words(data_ + first, bits);
  }
  PAGODA_DEVICE void to_floats(const Bits& bits, float (&values)[kChunk]) const {
    Vector<T>::widen(bits, values);
  }
  PAGODA_DEVICE Bits from_floats(const float (&values)[kChunk]) const {
    return Vector<T>::narrow(values);
  }

 private:
  T* data_;
};

// One element as bits to f32, and back.
PAGODA_DEVICE float to_float_of(DType dtype, uint32_t bits) {
  switch (dtype) {
    case DType::kFloat32:
      return bit_cast<float>(bits);
    case DType::kFloat16:
      return to_float(Float16{static_cast<uint16_t>(bits)});
    case DType::kBFloat16:
      return to_float(BFloat16{static_cast<uint16_t>(bits)});
    case DType::kFloat8E4M3:
      return to_float(Float8E4M3{static_cast<uint8_t>(bits)});
    case DType::kFloat8E5M2:
      return to_float(Float8E5M2{static_cast<uint8_t>(bits)});
    default:
      return to_float(static_cast<int8_t>(bits));
  }
}

PAGODA_DEVICE uint32_t bits_of(DType dtype, float x) {
  switch (dtype) {
    case DType::kFloat32:
      return bit_cast<uint32_t>(x);
    case DType::kFloat16:
      return to_float16(x).bits;
    case DType::kBFloat16:
      return to_bfloat16(x).bits;
    case DType::kFloat8E4M3:
      return to_float8_e4m3(x).bits;
    case DType::kFloat8E5M2:
      return to_float8_e5m2(x).bits;
    default:
      return static_cast<uint8_t>(to_int8(x));
  }
}

template <>
class Row<AnyType> {
 public:
  static constexpr int kChunk = 1;
  using Bits = uint32_t;

  PAGODA_DEVICE Row(void* data, DType dtype, int64_t offset)
      : data_(static_cast<char*>(data) + offset * static_cast<int64_t>(size_of(dtype))),
        dtype_(dtype) {}

  PAGODA_DEVICE void advance(int64_t elements) {
    data_ += elements * static_cast<int64_t>(size_of(dtype_));
  }
  PAGODA_DEVICE Bits load(int32_t at) const {
    switch (size_of(dtype_)) {
      case 4:
        return reinterpret_cast<const uint32_t*>(data_)[at];
      case 2:
        return reinterpret_cast<const uint16_t*>(data_)[at];
      default:
        return reinterpret_cast<const uint8_t*>(data_)[at];
    }
  }
  PAGODA_DEVICE void store(int32_t at, Bits bits) const {
    switch (size_of(dtype_)) {
      case 4:
        reinterpret_cast<uint32_t*>(data_)[at] = bits;
        break;
      case 2:
        reinterpret_cast<uint16_t*>(data_)[at] = static_cast<uint16_t>(bits);
        break;
      default:
        reinterpret_cast<uint8_t*>(data_)[at] = static_cast<uint8_t>(bits);
        break;
    }
  }
  PAGODA_DEVICE void to_floats(Bits bits, float (&values)[1]) const {
    values[0] = to_float_of(dtype_, bits);
  }
  PAGODA_DEVICE Bits from_floats(const float (&values)[1]) const {
    return bits_of(dtype_, values[0]);
  }

 private:
  char* data_;
  DType dtype_;
};

// Both chunks of a unit as they are stored.
template <class T>
struct UnitBits {
  typename Row<T>::Bits first;
  typename Row<T>::Bits second;

  PAGODA_DEVICE UnitBits(const Row<T>& row, const UnitPlace& place) : first{}, second{} {
    if (place.has_first) first = row.load(place.first);
    if (place.has_second) second = row.load(place.second);
  }

  PAGODA_DEVICE void store(const Row<T>& row, const UnitPlace& place) const {
    row.store(place.first, first);
    if (place.has_second) row.store(place.second, second);
  }
};

// Both chunks of a unit in f32.
template <int kChunk>
struct UnitValues {
  float first[kChunk];
  float second[kChunk];

  template <class T>
  PAGODA_DEVICE UnitValues(const Row<T>& row, const UnitBits<T>& bits) {
    row.to_floats(bits.first, first);
    row.to_floats(bits.second, second);
  }

  template <class Change>
  PAGODA_DEVICE void for_each(const Change& changed) {
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      first[i] = changed(first[i]);
      second[i] = changed(second[i]);
    }
  }

  // The largest magnitude, besides NaN.
  PAGODA_DEVICE float largest() const {
    float result = 0.0f;
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      result = fmaxf(result, fmaxf(fabsf(first[i]), fabsf(second[i])));
    }
    return result;
  }

  template <class T>
  PAGODA_DEVICE void store(const Row<T>& row, const UnitPlace& place) const {
    row.store(place.first, row.from_floats(first));
    if (place.has_second) row.store(place.second, row.from_floats(second));
  }
};

// The row of this thread in a grid, and the first of its units.
struct ThreadPlace {
  uint32_t row;
  int32_t unit;

  PAGODA_DEVICE ThreadPlace(const RowLanes& lanes, uint32_t cta)
      : row(cta * lanes.cta_rows() + (threadIdx.x >> lanes.lanes_log2)),
        unit(static_cast<int32_t>(threadIdx.x) & (lanes.lanes() - 1)) {}
};

// The lanes of a thread's row, of which it is number `lane`, in its warp.
PAGODA_DEVICE uint32_t row_mask(const RowLanes& lanes, int32_t lane) {
  return (0xffffffffu >> (32 - lanes.lanes())) << (threadIdx.x % 32 - static_cast<uint32_t>(lane));
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_CACHE_ROW_CUH_
