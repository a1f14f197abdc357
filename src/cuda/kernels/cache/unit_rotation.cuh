// Rotary embedding of the two chunks of a unit.
#ifndef PAGODA_CUDA_KERNELS_CACHE_UNIT_ROTATION_CUH_
#define PAGODA_CUDA_KERNELS_CACHE_UNIT_ROTATION_CUH_

#include "cuda/kernels/cache/row.cuh"
#include "cuda/kernels/cache/write_kv_cache.h"
#include "semantics/rope.h"

namespace pagoda::cuda {

// kCount cosines or sines.
template <int kCount>
PAGODA_DEVICE void load_table(const RopeParams& rope, int64_t at, float* values) {
  if constexpr (kCount == 1) {
    values[0] = load_wide_float(rope.cos_sin, rope.dtype, at);
  } else if (rope.dtype == DType::kFloat32) {
    const auto* table = static_cast<const float*>(rope.cos_sin) + at;
    const auto words = *reinterpret_cast<const Words<kCount>*>(table);
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = bit_cast<float>(words.of[i]);
  } else {
    const auto* table = static_cast<const uint16_t*>(rope.cos_sin) + at;
    const auto words = *reinterpret_cast<const Words<kCount / 2>*>(table);
    const bool is_f16 = rope.dtype == DType::kFloat16;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const auto bits = static_cast<uint16_t>(words.of[i / 2] >> (16 * (i % 2)));
      values[i] = is_f16 ? sm90::f16_to_f32(bits) : to_float(BFloat16{bits});
    }
  }
}

// The angles of a unit's pairs, if it is rotated, at one position. Where pairs lie inside chunks,
// half of them are the first chunk's.
template <int kChunk>
class UnitRotation {
 public:
  PAGODA_DEVICE UnitRotation(const RopeParams& rope, int64_t position, const UnitPlace& place)
      : is_rotated_(place.is_rotated), is_inside_(kChunk > 1 && rope.interleaved) {
    if (!is_rotated_) return;
    const int64_t cosines = position * rope.position_stride;
    const int64_t sines = cosines + rope.rotary_dim / 2;
    if constexpr (kChunk > 1) {
      if (is_inside_) {
        constexpr int kHalf = kChunk / 2;
        load_table<kHalf>(rope, cosines + place.first / 2, cosines_);
        load_table<kHalf>(rope, cosines + place.second / 2, cosines_ + kHalf);
        load_table<kHalf>(rope, sines + place.first / 2, sines_);
        load_table<kHalf>(rope, sines + place.second / 2, sines_ + kHalf);
        return;
      }
    }
    const int32_t pair = rope.interleaved ? place.first / 2 : place.first;
    load_table<kChunk>(rope, cosines + pair, cosines_);
    load_table<kChunk>(rope, sines + pair, sines_);
  }

  PAGODA_DEVICE void apply(UnitValues<kChunk>* unit) const {
    if (!is_rotated_) return;
    if constexpr (kChunk > 1) {
      if (is_inside_) {
        rotate_inside(0, unit->first);
        rotate_inside(kChunk / 2, unit->second);
        return;
      }
    }
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      rotate_pair(&unit->first[i], &unit->second[i], cosines_[i], sines_[i]);
    }
  }

 private:
  PAGODA_DEVICE void rotate_inside(int begin, float (&values)[kChunk]) const {
#pragma unroll
    for (int i = 0; i < kChunk / 2; ++i) {
      rotate_pair(&values[2 * i], &values[2 * i + 1], cosines_[begin + i], sines_[begin + i]);
    }
  }

  const bool is_rotated_;
  const bool is_inside_;
  float cosines_[kChunk];
  float sines_[kChunk];
};

// Of a side that is not rotated.
struct NoRotation {
  PAGODA_DEVICE NoRotation(const RopeParams&, int64_t, const UnitPlace&) {}
  template <int kChunk>
  PAGODA_DEVICE void apply(UnitValues<kChunk>*) const {}
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_CACHE_UNIT_ROTATION_CUH_
