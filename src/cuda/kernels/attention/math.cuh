// What one warp computes: 16 rows against 16 keys at a time, in mma.sync fragments. S, P and O
// never leave registers. A lane holds two rows, lane / 4 and lane / 4 + 8, and per group of 8
// columns the columns 2 * (lane % 4) + {0, 1} of each.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_MATH_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_MATH_CUH_

#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/attention/key_rows.cuh"
#include "cuda/kernels/attention/warp_rows.cuh"
#include "cuda/sm90/convert.cuh"
#include "cuda/sm90/ldst.cuh"
#include "cuda/sm90/mma_sync.cuh"
#include "cuda/tile/fragment.cuh"
#include "plan/item_rows.h"
#include "semantics/quant.h"

namespace pagoda::cuda {

using sm90::smem_address;

constexpr int kChunkKeys = 16;  // keys of one step: the depth of P V's mma

template <class Config>
class WarpMath {
 public:
  using T = typename Config::T;
  static constexpr int kSteps = Config::kHeadDim / 16;
  static constexpr int kColumnGroups = Config::kHeadDim / 8;
  using KvTile = uint8_t[Config::kTileBytes];

  PAGODA_DEVICE WarpMath(const AttentionParams& params, const ItemRows& rows,
                         const WarpRows<Config::kPlain>& warp_rows, float scale,
                         int32_t log2_box_keys)
      : params_(params),
        rows_(rows),
        warp_rows_(warp_rows),
        scale_(scale),
        log2_box_keys_(log2_box_keys) {}

  PAGODA_DEVICE void start() {
#pragma unroll
    for (auto& group : out_) {
      for (float& x : group) x = 0.0f;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) max_log2_[i] = -kInfinity, sum_[i] = 0.0f;
  }

  // Q of the warp's rows, from global memory into registers; rows and channels that are not there
  // are zeros.
  PAGODA_DEVICE void take_query(int32_t kv_head, int first_row) {
    const T* row_data[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = first_row + lane() / 4 + 8 * i;
      row_data[i] = row < rows_.num_rows
                        ? static_cast<const T*>(params_.q.data) +
                              row_offset(params_.q, rows_.first_token + rows_.q_idx(row),
                                         rows_.q_head(kv_head, row))
                        : nullptr;
    }
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const int chunk = 2 * step + r / 2;
        const T* data = row_data[r % 2];
        const bool there = data != nullptr && 8 * chunk < params_.head_dim;
        query_[step][r] =
            there ? *reinterpret_cast<const uint32_t*>(data + 8 * chunk + 2 * (lane() % 4)) : 0;
      }
    }
  }

  // Q of the warp's rows, where to read it for every chunk.
  PAGODA_DEVICE void take_query(const QueryTile<Config>& tile, int first_row) {
    query_smem_ = smem_address(tile.bytes);
    query_row_ = first_row + lane() % 16;
  }

  // Keys [first_key, first_key + 16) of the sequence, at row `tile_row` of the tile; those outside
  // `there` are not in the item.
  PAGODA_DEVICE void attend(const KvStage<Config>& stage, int tile_row, int32_t first_key,
                            KvRange there) {
    const KvRange chunk{first_key, first_key + kChunkKeys};
    if (chunk.end <= max_of(warp_rows_.any.begin, there.begin) ||
        chunk.begin >= min_of(warp_rows_.any.end, there.end)) {
      return;
    }
    float x[2][4] = {};
    multiply_keys(stage.k, tile_row, x);
    const bool masked = !warp_rows_.unmasked.contains(chunk) || !there.contains(chunk);
    to_logits(x, first_key);
    if (masked) hide(x, first_key, there);
    const uint32_t hidden = hidden_bits(x);
    to_weights(x);
    const uint32_t infinite = masked ? infinite_keys(stage.v, tile_row) : 0;
    weigh_values(stage.v, tile_row, x, infinite);
    if (infinite != 0) add_infinite(stage.v, tile_row, x, hidden, infinite);
  }

  // Unnormalised outputs and states of the first `num_rows` of the warp's rows to shared memory, as
  // ExchangeRows from row `first` on.
  PAGODA_DEVICE void store(float* out, SoftmaxState* state, int first, int num_rows) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = lane() / 4 + 8 * i;
      const float sum = tile::quad_sum(sum_[i]);
      if (row >= num_rows) continue;
      if (lane() % 4 == 0) state[first + row] = {max_log2_[i], sum};
#pragma unroll
      for (int g = 0; g < kColumnGroups; ++g) {
        *reinterpret_cast<float2*>(
            out + ExchangeRows<Config>::offset(first + row, g * 8 + 2 * (lane() % 4))) =
            make_float2(out_[g][2 * i], out_[g][2 * i + 1]);
      }
    }
  }

 private:
  PAGODA_DEVICE static int lane() {
    return static_cast<int>(threadIdx.x % 32);
  }

  // A fragment of Q: matrices (rows 0-7, columns 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15).
  PAGODA_DEVICE void load_query(int step, uint32_t (&a)[4]) const {
    sm90::ldmatrix_x4(
        a, query_smem_ + QueryTile<Config>::chunk_offset(query_row_, 2 * step + lane() / 16));
  }

  // x[j] = Q K^T for keys 8 j ... 8 j + 7 of the chunk.
  PAGODA_DEVICE void multiply_keys(const KvTile& k, int tile_row, float (&x)[2][4]) const {
    // Lanes 0-7: keys 0-7, columns 0-7; 8-15: columns 8-15; 16-31 the same for keys 8-15.
    const KeyRow<Config> row(tile_row + lane() % 8 + lane() / 16 * 8, log2_box_keys_);
    const uint32_t smem = smem_address(k);
#pragma unroll
    for (int panel = 0; panel < Config::kPanels; ++panel) {
      const uint32_t first = smem + row.offset(8 * panel + lane() / 8 % 2);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int step = 4 * panel + i;
        uint32_t keys[4];
        sm90::ldmatrix_x4(keys, columns_on(first, i));
        const uint32_t low[2] = {keys[0], keys[1]};
        const uint32_t high[2] = {keys[2], keys[3]};
        if constexpr (Config::kQueryInRegisters) {
          sm90::mma_m16n8k16<T>(x[0], query_[step], low);
          sm90::mma_m16n8k16<T>(x[1], query_[step], high);
        } else {
          uint32_t query[4];
          load_query(step, query);
          sm90::mma_m16n8k16<T>(x[0], query, low);
          sm90::mma_m16n8k16<T>(x[1], query, high);
        }
      }
    }
  }

  // The address 16 * i columns further on in the panel, whose first 16 `first` lies in: the swizzle
  // is an exclusive or, and so is the step.
  PAGODA_DEVICE static uint32_t columns_on(uint32_t first, int i) {
    return first ^ static_cast<uint32_t>(32 * i);
  }

  PAGODA_DEVICE static int key_of(int j, int i) {
    return 8 * j + 2 * (lane() % 4) + i % 2;
  }

  // Dots to logits in base 2.
  PAGODA_DEVICE void to_logits(float (&x)[2][4], int32_t first_key) const {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        x[j][i] = Config::kPlain ? x[j][i] * (scale_ * kLog2e)
                                 : full_logit(x[j][i], i / 2, first_key + key_of(j, i));
      }
    }
  }

  // Logits of keys that a row does not see, or that are not `there`, become -inf.
  PAGODA_DEVICE void hide(float (&x)[2][4], int32_t first_key, KvRange there) const {
    const MaskRule rule = kernel_rule<Config::kPlain>(rows_.rule);
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const int32_t q_pos = warp_rows_.lane.q_pos[row];
      const KvRange seen = any_visible(rule, q_pos, q_pos);
      const KvRange kv{max_of(seen.begin, there.begin), min_of(seen.end, there.end)};
#pragma unroll
      for (int j = 0; j < 2; ++j) {
#pragma unroll
        for (int i = 2 * row; i < 2 * row + 2; ++i) {
          const int32_t key = first_key + key_of(j, i);
          bool sees = key >= kv.begin && key < kv.end;
          if constexpr (!Config::kPlain) sees = sees && is_visible(rule, q_pos, key);
          if (!sees) x[j][i] = -kInfinity;
        }
      }
    }
  }

  PAGODA_DEVICE float full_logit(float dot, int row, int32_t key) const {
    const LaneRows& lane_rows = warp_rows_.lane;
    const int32_t context_len = rows_.rule.context_len();
    const ScorePlace<float> place{
        lane_rows.slope[row], static_cast<float>(key - lane_rows.q_pos[row]),
        Bias::active(params_.score)
            ? Bias::value(params_.score, rows_.seq, lane_rows.q_pos[row] - context_len,
                          key - context_len)
            : 0.0f};
    return logit(params_.score, dot, scale_, place) * kLog2e;
  }

  PAGODA_DEVICE static uint32_t hidden_bits(const float (&x)[2][4]) {
    uint32_t bits = 0;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) bits |= x[j][i] == -kInfinity ? 1u << (4 * j + i) : 0u;
    }
    return bits;
  }

  // The online softmax: logits become weights, the rows' state and outputs move on.
  PAGODA_DEVICE void to_weights(float (&x)[2][4]) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const int i = 2 * row;
      const float largest =
          tile::quad_max(fmaxf(fmaxf(x[0][i], x[0][i + 1]), fmaxf(x[1][i], x[1][i + 1])));
      const float old_max = max_log2_[row];
      const float new_max = fmaxf(old_max, largest);
      const float anchor = softmax_anchor(new_max);
      const float factor = exp2_of(old_max - anchor);
      max_log2_[row] = new_max;
      if (__any_sync(0xffffffffu, old_max < new_max)) {
#pragma unroll
        for (auto& group : out_) group[i] *= factor, group[i + 1] *= factor;
      }
      sum_[row] *= factor;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
#pragma unroll
        for (int c = i; c < i + 2; ++c) {
          x[j][c] = softmax_weight(x[j][c], anchor);
          sum_[row] += x[j][c];
        }
      }
    }
  }

  // Bit per key of the chunk whose V is not finite.
  PAGODA_DEVICE uint32_t infinite_keys(const KvTile& v, int tile_row) const {
    // Two lanes a key, each half of its chunks.
    const KeyRow<Config> row(tile_row + lane() / 2, log2_box_keys_);
    bool finite = true;
#pragma unroll 2
    for (int c = lane() % 2; c < kColumnGroups; c += 2) {
      const uint4 bits = sm90::load_shared_16(smem_address(v) + row.offset(c));
      for (uint32_t pair : {bits.x, bits.y, bits.z, bits.w}) {
        finite = finite && is_finite(pair & 0xffffu) && is_finite(pair >> 16);
      }
    }
    const uint32_t votes = __ballot_sync(0xffffffffu, !finite);
    uint32_t keys = 0;
#pragma unroll 1
    for (int i = 0; i < kChunkKeys && votes != 0; ++i) {
      keys |= (votes >> (2 * i) & 3u) != 0 ? 1u << i : 0u;
    }
    return keys;
  }

  PAGODA_DEVICE static bool is_finite(uint32_t bits) {
    const float x = to_float(T{static_cast<uint16_t>(bits)});
    return x - x == 0.0f;
  }

  // O += P V, leaving out the keys of `infinite`: 0 * NaN is NaN.
  PAGODA_DEVICE void weigh_values(const KvTile& v, int tile_row, const float (&x)[2][4],
                                  uint32_t infinite) {
    const uint32_t weights[4] = {
        sm90::pack_pair<T>(x[0][0], x[0][1]), sm90::pack_pair<T>(x[0][2], x[0][3]),
        sm90::pack_pair<T>(x[1][0], x[1][1]), sm90::pack_pair<T>(x[1][2], x[1][3])};
    const uint32_t keep[2] = {pair_mask(infinite, 0), pair_mask(infinite, 8)};
    // Lanes 0-7: keys 0-7, columns 0-7; 8-15: keys 8-15; 16-31 the same for columns 8-15.
    const KeyRow<Config> row(tile_row + lane() % 16, log2_box_keys_);
    const uint32_t smem = smem_address(v);
#pragma unroll
    for (int panel = 0; panel < Config::kPanels; ++panel) {
      const uint32_t start = smem + row.offset(8 * panel + lane() / 16);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int step = 4 * panel + i;
        uint32_t values[4];
        sm90::ldmatrix_x4_trans(values, columns_on(start, i));
        const uint32_t first[2] = {values[0] & keep[0], values[1] & keep[1]};
        const uint32_t second[2] = {values[2] & keep[0], values[3] & keep[1]};
        sm90::mma_m16n8k16<T>(out_[2 * step], weights, first);
        sm90::mma_m16n8k16<T>(out_[2 * step + 1], weights, second);
      }
    }
  }

  // Which halves of this lane's pair of keys, from `first` on, stay.
  PAGODA_DEVICE static uint32_t pair_mask(uint32_t infinite, int first) {
    const uint32_t pair = infinite >> (first + 2 * (lane() % 4));
    return ((pair & 1u) != 0 ? 0u : 0xffffu) | ((pair & 2u) != 0 ? 0u : 0xffff0000u);
  }

  // Rows that see a value that is not finite get it by themselves.
  PAGODA_DEVICE void add_infinite(const KvTile& v, int tile_row, const float (&x)[2][4],
                                  uint32_t hidden, uint32_t infinite) {
#pragma unroll 1
    for (int key = 0; key < kChunkKeys; ++key) {
      if ((infinite >> key & 1u) == 0) continue;
      float weight[2];
      bool hides[2];
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        weight[row] = from_key_owner(x, key, row);
        hides[row] = bit_from_key_owner(hidden, key, row);
      }
#pragma unroll
      for (int g = 0; g < kColumnGroups; ++g) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int column = 2 * (lane() % 4) + i % 2;
          const uint32_t offset = KeyRow<Config>(tile_row + key, log2_box_keys_).offset(g) +
                                  static_cast<uint32_t>(column) * 2;
          const T value = *reinterpret_cast<const T*>(v + offset);
          if (!hides[i / 2]) out_[g][i] += weight[i / 2] * to_float(value);
        }
      }
    }
  }

  // x of (this lane's row, key), from the lane of its quad that holds the key. Every candidate is
  // fetched: choosing first would index registers.
  PAGODA_DEVICE static float from_key_owner(const float (&x)[2][4], int key, int row) {
    const int owner = (lane() & ~3) | (key % 8 / 2);
    float value = 0.0f;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float candidate = __shfl_sync(0xffffffffu, x[j][2 * row + i], owner);
        if (key / 8 == j && key % 2 == i) value = candidate;
      }
    }
    return value;
  }
  PAGODA_DEVICE static bool bit_from_key_owner(uint32_t bits, int key, int row) {
    const uint32_t bit = bits >> (4 * (key / 8) + 2 * row + key % 2) & 1u;
    return __shfl_sync(0xffffffffu, bit, (lane() & ~3) | (key % 8 / 2)) != 0;
  }

  const AttentionParams& params_;
  const ItemRows& rows_;
  const WarpRows<Config::kPlain>& warp_rows_;
  const float scale_;
  const int32_t log2_box_keys_;
  uint32_t query_smem_;
  int query_row_;
  uint32_t query_[Config::kQueryInRegisters ? kSteps : 1][4];
  float out_[kColumnGroups][4];
  float max_log2_[2];
  float sum_[2];
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_MATH_CUH_
