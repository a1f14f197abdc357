// What one warp computes: 16 rows against a chunk of keys at a time, in mma.sync fragments. S, P
// and O never leave registers. A lane holds two rows, lane / 4 and lane / 4 + 8, and per group of 8
// columns the columns 2 * (lane % 4) + {0, 1} of each.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_MATH_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_MATH_CUH_

#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/attention/infinite_values.cuh"
#include "cuda/kernels/attention/key_rows.cuh"
#include "cuda/kernels/attention/kv_format.cuh"
#include "cuda/kernels/attention/query.cuh"
#include "cuda/kernels/attention/scores.cuh"
#include "cuda/kernels/attention/token_scales.cuh"
#include "cuda/kernels/attention/warp_rows.cuh"
#include "cuda/kernels/to_f16.cuh"
#include "cuda/sm90/convert.cuh"
#include "cuda/sm90/ldst.cuh"
#include "cuda/sm90/mma_sync.cuh"
#include "cuda/tile/fragment.cuh"
#include "plan/item_rows.h"
#include "semantics/quant.h"

namespace pagoda::cuda {

template <class Config>
class WarpMath {
 public:
  using T = typename Config::T;
  using Format = KvFormat<typename Config::KvT>;
  static constexpr int kSteps = Config::kHeadDim / 16;
  static constexpr int kColumnGroups = Config::kHeadDim / 8;
  static constexpr int kLoads = kSteps / Format::kSteps;
  using KvTile = uint8_t[Config::kTileBytes];
  using Tile = ChunkTile<Config>;
  static constexpr int kKeyBlocks = Config::kChunkKeys / 16;  // the depth of P V's mma

  static constexpr bool kWeightsAreF16 = std::is_same_v<T, Float16>;
  static constexpr float kWeightLog2 = kWeightsAreF16 ? kF16WeightLog2 : 0.0f;
  static constexpr float kOne = kWeightsAreF16 ? kF16WeightUnit : 1.0f;

  PAGODA_DEVICE WarpMath(const AttentionParams& params, const ItemRows& rows,
                         const WarpRows<Config::kPlain>& warp_rows, float scale,
                         int32_t log2_box_keys)
      : params_(params),
        rows_(rows),
        warp_rows_(warp_rows),
        scale_{scale},
        log2_box_keys_(log2_box_keys) {
    if constexpr (Config::kKv8Bit) scale_[1] = scale;
  }

  PAGODA_DEVICE void start() {
#pragma unroll
    for (auto& group : out_) {
      for (float& x : group) x = 0.0f;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) max_[i] = -kInfinity, sum_[i] = 0.0f;
    value_unit_.start();
  }

  // Q of the warp's rows, from global memory into registers; rows and channels that are not there
  // are zeros.
  PAGODA_DEVICE void take_query(int32_t kv_head, int first_row) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = first_row + lane() / 4 + 8 * i;
      const bool there = row < rows_.num_rows;
      const int64_t at = there ? query_offset(params_, rows_, kv_head, row) : 0;
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        take_query_channels(step, i, at, there);
      }
    }
    if constexpr (Config::kKv8Bit) {
      if (params_.q.dtype == DType::kBFloat16) query_to_f16();
    }
  }

  // Q of the warp's rows, where to read it for every chunk.
  PAGODA_DEVICE void take_query(const SmemPlan<Config>& smem, int first_row) {
    query_smem_ = smem_address(smem.query.bytes);
    query_row_ = first_row + lane() % 16;
    if constexpr (Config::kKv8Bit) {
#pragma unroll
      for (int i = 0; i < 2; ++i) scale_[i] *= smem.query_unit[first_row + lane() / 4 + 8 * i];
    }
  }

  // A chunk of the sequence from key `first_key` on, at row `tile_row` of the tile; keys outside
  // `there` are not in the item.
  PAGODA_DEVICE void attend(const SmemPlan<Config>& smem, int stage, int tile_row,
                            int32_t first_key, KvRange there) {
    const KvRange chunk{first_key, first_key + Config::kChunkKeys};
    if (chunk.end <= max_of(warp_rows_.any.begin, there.begin) ||
        chunk.begin >= min_of(warp_rows_.any.end, there.end)) {
      return;
    }
    const KvStage<Config>& tile = smem.stages[stage];
    Tile x = {};
    multiply_keys(tile.k, tile_row, x);
    const ChunkScales<Config> scales(params_, smem.token_scales, stage, tile_row);
    scales.scale_dots(x);
    const bool masked = !warp_rows_.unmasked.contains(chunk) || !there.contains(chunk);
    const ChunkScores<Config> scores(params_, rows_, warp_rows_, first_key);
    if constexpr (!Config::kPlain) {
#pragma unroll
      for (int row = 0; row < 2; ++row) scores.to_logits(x, row, scale_of_row(row));
    }
    uint32_t hidden = 0;
    if (masked) {
      scores.hide(x, there);
      hidden = scores.hidden_bits(x);
    }
    to_weights(x);
    if (scales.there()) scale_rows(value_unit_.weigh(x, scales, hidden));
    const InfiniteValues<Config> infinite(tile.v, tile_row, log2_box_keys_, masked);
    weigh_values(tile.v, tile_row, x, infinite);
    if (infinite.any()) infinite.add(x, hidden, out_);
  }

  // Unnormalised outputs and states of the first `num_rows` of the warp's rows to shared memory, as
  // ExchangeRows from row `first` on.
  PAGODA_DEVICE void store(float* out, SoftmaxState* state, int first, int num_rows) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = lane() / 4 + 8 * i;
      const float sum = tile::quad_sum(sum_[i]) * kOne;
      const RoundedState rounded = rounded_state(max_[i], sum, to_log2(i));
      if (row >= num_rows) continue;
      if (lane() % 4 == 0) state[first + row] = rounded.state;
      const float factor = rounded.factor * value_unit_.unit() * kOne;
#pragma unroll
      for (int g = 0; g < kColumnGroups; g += 2) {
        store_row_part(out, first + row, g, i, factor);
      }
    }
  }

 private:
  PAGODA_DEVICE static int lane() {
    return static_cast<int>(threadIdx.x % 32);
  }

  // What a row's scores are multiplied by to become logits in base 2. Never 0, which would make
  // NaN of a hidden key's -inf.
  PAGODA_DEVICE float to_log2(int row) const {
    if constexpr (!Config::kPlain) return kLog2e;
    return fmaxf(scale_of_row(row) * kLog2e, kSmallestNormal);
  }
  PAGODA_DEVICE float scale_of_row(int row) const {
    return scale_[Config::kKv8Bit ? row : 0];
  }

  // The lane's part of 16 channels of a row that begins at element `at`.
  PAGODA_DEVICE void take_query_channels(int step, int row, int64_t at, bool there) {
    if constexpr (Config::kKv8Bit) {
      const int channel = 16 * step + 4 * (lane() % 4);
      uint32_t& low = query_[step][row];
      uint32_t& high = query_[step][2 + row];
      low = high = 0;
      if (there && channel < params_.head_dim) {
        load_four_channels(params_.q, at + channel, low, high);
      }
    } else {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int channel = 16 * step + 8 * half + 2 * (lane() % 4);
        query_[step][2 * half + row] =
            there && channel < params_.head_dim
                ? *reinterpret_cast<const uint32_t*>(static_cast<const T*>(params_.q.data) + at +
                                                     channel)
                : 0;
      }
    }
  }

  PAGODA_DEVICE void query_to_f16() {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      float largest = 0.0f;
#pragma unroll
      for (auto& pairs : query_) {
        largest = fmaxf(largest, fmaxf(largest_finite(pairs[row]), largest_finite(pairs[2 + row])));
      }
      const float factor = f16_factor(tile::quad_max(largest));
      scale_[row] *= 1.0f / factor;
#pragma unroll
      for (auto& pairs : query_) {
        pairs[row] = bf16_to_f16_pair(pairs[row], factor);
        pairs[2 + row] = bf16_to_f16_pair(pairs[2 + row], factor);
      }
    }
  }

  // Of row `row` of the exchange, this lane's row `slot`: what it has of column groups g and g + 1.
  PAGODA_DEVICE void store_row_part(float* out, int row, int g, int slot, float factor) const {
    const float x[2][2] = {{out_[g][2 * slot] * factor, out_[g][2 * slot + 1] * factor},
                           {out_[g + 1][2 * slot] * factor, out_[g + 1][2 * slot + 1] * factor}};
    if constexpr (Config::kKv8Bit) {
      *reinterpret_cast<float4*>(out +
                                 ExchangeRows<Config>::offset(row, 8 * g + 4 * (lane() % 4))) =
          make_float4(x[0][0], x[1][0], x[0][1], x[1][1]);
    } else {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        *reinterpret_cast<float2*>(
            out + ExchangeRows<Config>::offset(row, 8 * (g + i) + 2 * (lane() % 4))) =
            make_float2(x[i][0], x[i][1]);
      }
    }
  }

  // A fragment of Q: matrices (rows 0-7, columns 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15).
  PAGODA_DEVICE const uint32_t (&query_operand(int step, uint32_t (&loaded)[4]) const)[4] {
    if constexpr (Config::kQueryInRegisters) {
      return query_[step];
    } else {
      const uint32_t at = QueryTile<Config>::chunk_offset(query_row_, 2 * step + lane() / 16);
      sm90::ldmatrix_x4(loaded, query_smem_ + at);
      return loaded;
    }
  }

  // x[j] = Q K^T for keys 8 j ... 8 j + 7 of the chunk.
  PAGODA_DEVICE void multiply_keys(const KvTile& k, int tile_row, Tile& x) const {
    const uint32_t smem = smem_address(k);
#pragma unroll
    for (int load = 0; load < kLoads; ++load) {
      uint32_t keys[kKeyBlocks][4];
#pragma unroll
      for (int block = 0; block < kKeyBlocks; ++block) {
        // Lanes 0-7: keys 0-7, 16 bytes; 8-15: the next 16; 16-31 the same for keys 8-15.
        const KeyRow<Config> row(tile_row + 16 * block + lane() % 8 + lane() / 16 * 8,
                                 log2_box_keys_);
        const uint32_t panel = smem + row.offset(load / 4 * 8 + lane() / 8 % 2);
        sm90::ldmatrix_x4(keys[block], bytes_on(panel, 32 * (load % 4)));
      }
#pragma unroll
      for (int i = 0; i < Format::kSteps; ++i) {
        const int step = load * Format::kSteps + i;
        uint32_t loaded_query[4];
        const uint32_t(&query)[4] = query_operand(step, loaded_query);
#pragma unroll
        for (int block = 0; block < kKeyBlocks; ++block) {
          uint32_t low[2], high[2];
          Format::key_operands(keys[block], i, low, high);
          sm90::mma_m16n8k16<T>(x[2 * block], query, low);
          sm90::mma_m16n8k16<T>(x[2 * block + 1], query, high);
        }
      }
    }
  }

  // The address `bytes`, a multiple of 32, further on in the panel, in whose first 32 `first` lies:
  // the swizzle is an exclusive or, and so is the step.
  PAGODA_DEVICE static uint32_t bytes_on(uint32_t first, int bytes) {
    return first ^ static_cast<uint32_t>(bytes);
  }

  // The online softmax: scores become weights, the rows' state and outputs move on.
  PAGODA_DEVICE void to_weights(Tile& x) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const int i = 2 * row;
      float largest = -kInfinity;
#pragma unroll
      for (auto& group : x) largest = fmaxf(largest, fmaxf(group[i], group[i + 1]));
      const float old_max = max_[row];
      const float new_max = fmaxf(old_max, tile::quad_max(largest));
      const float anchor = softmax_anchor(new_max);
      const float factor = softmax_weight(old_max, anchor, to_log2(row));
      max_[row] = new_max;
      if (__any_sync(0xffffffffu, old_max < new_max)) scale_row(row, factor);
      sum_[row] *= factor;
#pragma unroll
      for (auto& group : x) {
#pragma unroll
        for (int c = i; c < i + 2; ++c) {
          group[c] = exp2_of(fmaf(group[c] - anchor, to_log2(row), kWeightLog2));
          sum_[row] += group[c];
        }
      }
    }
  }

  PAGODA_DEVICE void scale_row(int row, float factor) {
#pragma unroll
    for (auto& group : out_) group[2 * row] *= factor, group[2 * row + 1] *= factor;
  }
  PAGODA_DEVICE void scale_rows(float factor) {
    if (factor == 1.0f) return;  // of a whole warp alike
#pragma unroll
    for (int row = 0; row < 2; ++row) scale_row(row, factor);
  }

  // O += P V, leaving out the keys of `infinite`.
  PAGODA_DEVICE void weigh_values(const KvTile& v, int tile_row, const Tile& x,
                                  const InfiniteValues<Config>& infinite) {
    const uint32_t smem = smem_address(v);
#pragma unroll
    for (int block = 0; block < kKeyBlocks; ++block) {
      const float(&low)[4] = x[2 * block];
      const float(&high)[4] = x[2 * block + 1];
      const uint32_t weights[4] = {
          sm90::pack_pair<T>(low[0], low[1]), sm90::pack_pair<T>(low[2], low[3]),
          sm90::pack_pair<T>(high[0], high[1]), sm90::pack_pair<T>(high[2], high[3])};
      const KeepPairs keep = {infinite.pair_mask(16 * block), infinite.pair_mask(16 * block + 8)};
      // Lanes 0-7: keys 0-7, 16 bytes; 8-15: keys 8-15; 16-31 the same for the next 16.
      const KeyRow<Config> row(tile_row + 16 * block + lane() % 16, log2_box_keys_);
#pragma unroll
      for (int load = 0; load < kLoads; ++load) {
        const uint32_t panel = smem + row.offset(load / 4 * 8 + lane() / 16);
        uint32_t values[4];
        sm90::ldmatrix_x4_trans(values, bytes_on(panel, 32 * (load % 4)));
#pragma unroll
        for (int i = 0; i < Format::kSteps; ++i) {
          const int step = load * Format::kSteps + i;
          uint32_t first[2], second[2];
          Format::value_operands(values, i, keep, first, second);
          sm90::mma_m16n8k16<T>(out_[2 * step], weights, first);
          sm90::mma_m16n8k16<T>(out_[2 * step + 1], weights, second);
        }
      }
    }
  }

  const AttentionParams& params_;
  const ItemRows& rows_;
  const WarpRows<Config::kPlain>& warp_rows_;
  float scale_[Config::kKv8Bit ? 2 : 1];  // of the dots, to logits; of each row if they differ
  const int32_t log2_box_keys_;
  uint32_t query_smem_;
  int query_row_;
  uint32_t query_[Config::kQueryInRegisters ? kSteps : 1][4];
  float out_[kColumnGroups][4];
  float max_[2];  // of the scores
  float sum_[2];
  ValueUnit<Config> value_unit_;
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_MATH_CUH_
