// From dots to scores: what a logit has besides its scale, and which keys a row sees.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_SCORES_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_SCORES_CUH_

#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/attention/warp_rows.cuh"

namespace pagoda::cuda {

// A lane's key `i` of column group `j` of a chunk.
PAGODA_DEVICE int key_in_chunk(int j, int i) {
  return 8 * j + 2 * static_cast<int>(threadIdx.x % 4) + i % 2;
}

template <class Config>
class ChunkScores {
 public:
  using Tile = ChunkTile<Config>;
  static constexpr int kGroups = Config::kChunkKeys / 8;

  PAGODA_DEVICE ChunkScores(const AttentionParams& params, const ItemRows& rows,
                            const WarpRows<Config::kPlain>& warp_rows, int32_t first_key)
      : params_(params), rows_(rows), warp_rows_(warp_rows), first_key_(first_key) {}

  // Dots of row `row` to logits. Plain dots are scores as they are.
  PAGODA_DEVICE void to_logits(Tile& x, int row, float scale) const {
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
#pragma unroll
      for (int i = 2 * row; i < 2 * row + 2; ++i) {
        x[j][i] = full_logit(x[j][i], row, scale, first_key_ + key_in_chunk(j, i));
      }
    }
  }

  // Scores of keys that a row does not see, or that are not `there`, become -inf.
  PAGODA_DEVICE void hide(Tile& x, KvRange there) const {
    const MaskRule rule = kernel_rule<Config::kPlain>(rows_.rule);
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const int32_t q_pos = warp_rows_.lane.q_pos[row];
      const KvRange seen = any_visible(rule, q_pos, q_pos);
      const KvRange kv{max_of(seen.begin, there.begin), min_of(seen.end, there.end)};
#pragma unroll
      for (int j = 0; j < kGroups; ++j) {
#pragma unroll
        for (int i = 2 * row; i < 2 * row + 2; ++i) {
          const int32_t key = first_key_ + key_in_chunk(j, i);
          bool sees = key >= kv.begin && key < kv.end;
          if constexpr (!Config::kPlain) sees = sees && is_visible(rule, q_pos, key);
          if (!sees) x[j][i] = -kInfinity;
        }
      }
    }
  }

  // Bit 4 * j + i for each of the lane's scores that is hidden.
  PAGODA_DEVICE static uint32_t hidden_bits(const Tile& x) {
    uint32_t bits = 0;
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) bits |= x[j][i] == -kInfinity ? 1u << (4 * j + i) : 0u;
    }
    return bits;
  }

 private:
  PAGODA_DEVICE float full_logit(float dot, int row, float scale, int32_t key) const {
    const LaneRows& lane_rows = warp_rows_.lane;
    const int32_t context_len = rows_.rule.context_len();
    const ScorePlace<float> place{
        lane_rows.slope[row], static_cast<float>(key - lane_rows.q_pos[row]),
        Bias::active(params_.score)
            ? Bias::value(params_.score, rows_.seq, lane_rows.q_pos[row] - context_len,
                          key - context_len)
            : 0.0f};
    return logit(params_.score, dot, scale, place);
  }

  const AttentionParams& params_;
  const ItemRows& rows_;
  const WarpRows<Config::kPlain>& warp_rows_;
  const int32_t first_key_;
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_SCORES_CUH_
