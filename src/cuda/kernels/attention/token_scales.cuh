// Scales per token: K's multiply the dots, V's the weights.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_TOKEN_SCALES_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_TOKEN_SCALES_CUH_

#include "core/paged_kv.h"
#include "cuda/kernels/attention/config.h"
#include "cuda/sm90/convert.cuh"
#include "cuda/sm90/device.cuh"

namespace pagoda::cuda {

// Those of a chunk's keys, read where they are used: registers are few.
template <class Config>
class ChunkScales {
 public:
  using Tile = ChunkTile<Config>;
  static constexpr int kGroups = Config::kChunkKeys / 8;

  PAGODA_DEVICE ChunkScales(const AttentionParams&, const Nothing&, int, int) {}

  template <class Stages>
  PAGODA_DEVICE ChunkScales(const AttentionParams& params, const Stages& stages, int stage,
                            int tile_row)
      : there_(Config::kPlain || has_token_scales(params.kv)),
        k_(&stages[stage].k[tile_row + 2 * (threadIdx.x % 4)]) {}

  PAGODA_DEVICE bool there() const { return Config::kTokenScales && there_; }

  // Of the lane's two keys in column group `j`.
  PAGODA_DEVICE float2 k(int j) const { return *reinterpret_cast<const float2*>(k_ + 8 * j); }
  PAGODA_DEVICE float2 v(int j) const {
    return *reinterpret_cast<const float2*>(k_ + Config::kTileKeys + 8 * j);
  }

  PAGODA_DEVICE void scale_dots(Tile& x) const {
    if (!there()) return;
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
      const float2 scale = k(j);
#pragma unroll
      for (int i = 0; i < 4; ++i) x[j][i] *= i % 2 == 0 ? scale.x : scale.y;
    }
  }

 private:
  bool there_ = false;
  const float* k_ = nullptr;  // V's follow K's
};

// What 1 stands for in a warp's outputs. Weights times V's scales have to fit f16 as weights do:
// scales are related to the largest seen, which itself then counts exactly.
template <class Config>
class ValueUnit {
 public:
  PAGODA_DEVICE void start() {
    if constexpr (Config::kTokenScales) largest_ = 0.0f;
  }
  // 1 where no token has scales.
  PAGODA_DEVICE float unit() const {
    if constexpr (!Config::kTokenScales) return 1.0f;
    return largest_ == 0.0f ? 1.0f : largest_;
  }

  // Weights become weights times scales in the unit that they then have; returns what the outputs
  // so far are to be multiplied by. `hidden`: as ChunkScores has it.
  PAGODA_DEVICE float weigh(ChunkTile<Config>& x, const ChunkScales<Config>& scales,
                            uint32_t hidden) {
    const float before = largest_;
    largest_ = fmaxf(before, fmaxf(largest_of(scales, hidden), kSmallest));
    const float inverse = sm90::reciprocal_approx(largest_);
#pragma unroll
    for (int j = 0; j < scales.kGroups; ++j) {
      const float2 scale = scales.v(j);
      const float factor[2] = {scale.x * inverse, scale.y * inverse};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        // Whatever is in the place of a hidden key's scale.
        const bool hides = (hidden >> (4 * j + i) & 1u) != 0;
        x[j][i] = hides ? 0.0f : x[j][i] * factor[i % 2];
      }
    }
    return before == largest_ ? 1.0f : before * inverse;
  }

 private:
  static constexpr float kSmallest = 1e-30f;

  // Of all keys that some row of the warp sees and whose scale is finite.
  PAGODA_DEVICE static float largest_of(const ChunkScales<Config>& scales, uint32_t hidden) {
    float largest = 0.0f;
#pragma unroll
    for (int j = 0; j < scales.kGroups; ++j) {
      const float2 pair = scales.v(j);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        constexpr uint32_t kBothRows = 0b101;
        const float scale = fabsf(i == 0 ? pair.x : pair.y);
        const bool counts = (hidden >> (4 * j + i) & kBothRows) != kBothRows && scale < kInfinity;
        if (counts) largest = fmaxf(largest, scale);
      }
    }
    return __uint_as_float(__reduce_max_sync(0xffffffffu, __float_as_uint(largest)));
  }

  float largest_;  // scale so far
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_TOKEN_SCALES_CUH_
