// What one warp computes: 16 rows against 16 keys at a time, in mma.sync fragments. S, P and O
// never leave registers. A lane holds two rows, lane / 4 and lane / 4 + 8, and per group of 8
// columns the columns 2 * (lane % 4) + {0, 1} of each.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_MATH_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_MATH_CUH_

#include "cuda/kernels/attention/config.h"
#include "cuda/sm90/convert.cuh"
#include "cuda/sm90/ldst.cuh"
#include "cuda/sm90/mma_sync.cuh"
#include "plan/item_rows.h"
#include "semantics/quant.h"

namespace pagoda::cuda {

constexpr int kChunkKeys = 16;  // keys of one step: the depth of P V's mma

// What masks and scores need to know of a lane's two rows.
struct LaneRows {
  int32_t q_pos[2];
  KvRange kv[2];  // keys that the row's mask can show
  float slope[2];
};

// One warp's place in an item.
struct WarpRows {
  LaneRows lane;
  KvRange any;       // keys that some row of the warp sees
  KvRange unmasked;  // keys that every row sees, and that no bias hides
  bool active;       // the warp has rows

  PAGODA_DEVICE WarpRows(const AttentionParams& params, const ItemRows& rows, int32_t kv_head,
                         int first_row) {
    active = first_row < rows.num_rows;
    const int32_t last_row = rows.num_rows - 1;
    for (int i = 0; i < 2; ++i) {
      // Rows past the last repeat it; nothing is written for them.
      const int32_t row =
          min_of(first_row + static_cast<int32_t>(threadIdx.x % 32) / 4 + 8 * i, last_row);
      lane.q_pos[i] = rows.q_pos(row);
      lane.kv[i] = any_visible(rows.rule, lane.q_pos[i], lane.q_pos[i]);
      lane.slope[i] = Alibi::slope(params.score, rows.q_head(kv_head, row));
    }
    const int32_t q_first = rows.q_pos(min_of(first_row, last_row));
    const int32_t q_last = rows.q_pos(min_of(first_row + 15, last_row));
    any = any_visible(rows.rule, q_first, q_last);
    unmasked = without_bias(params.score, rows.rule, all_visible(rows.rule, q_first, q_last));
  }
};

template <class Config>
class WarpMath {
 public:
  using T = typename Config::T;
  static constexpr int kSteps = Config::kHeadDim / 16;
  static constexpr int kColumnGroups = Config::kHeadDim / 8;
  using KvTile = SwizzledTile<Config, Config::kTileKeys>;
  using QueryTile = SwizzledTile<Config, kMaxItemRows>;

  PAGODA_DEVICE WarpMath(const AttentionParams& params, const ItemRows& rows,
                         const WarpRows& warp_rows, float scale)
      : params_(params), rows_(rows), warp_rows_(warp_rows), scale_(scale) {
    plain_ = is_plain_score(params.score) && scale > 0.0f;
  }

  PAGODA_DEVICE void start() {
    for (auto& group : out_) {
      for (float& x : group) x = 0.0f;
    }
    for (int i = 0; i < 2; ++i) max_log2_[i] = -kInfinity, sum_[i] = 0.0f;
  }

  // Q of the warp's rows: into registers, or where to read it for every chunk.
  PAGODA_DEVICE void take_query(const QueryTile& tile, int first_row) {
    query_smem_ = smem_address(tile.elements);
    query_row_ = first_row + lane() % 16;
    if constexpr (Config::kQueryInRegisters) {
      for (int step = 0; step < kSteps; ++step) load_query(step, query_[step]);
    }
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
    to_logits(x, first_key, masked, there);
    const uint32_t hidden = hidden_bits(x);
    to_weights(x);
    const uint32_t infinite = masked ? infinite_keys(stage.v, tile_row) : 0;
    weigh_values(stage.v, tile_row, x, infinite);
    if (infinite != 0) add_infinite(stage.v, tile_row, x, hidden, infinite);
  }

  // Unnormalised outputs and states to shared memory, rows [first_row, first_row + 16).
  PAGODA_DEVICE void store(float* out, SoftmaxState* state, int first_row) const {
    const int row = first_row + lane() / 4;
    for (int g = 0; g < kColumnGroups; ++g) {
      const int column = g * 8 + 2 * (lane() % 4);
      for (int i = 0; i < 2; ++i) {
        float* pair = out + (row + 8 * i) * Config::kHeadDim + column;
        pair[0] = out_[g][2 * i];
        pair[1] = out_[g][2 * i + 1];
      }
    }
    for (int i = 0; i < 2; ++i) {
      const float sum = quad_sum(sum_[i]);
      if (lane() % 4 == 0) state[row + 8 * i] = {max_log2_[i], sum};
    }
  }

 private:
  PAGODA_DEVICE static int lane() { return static_cast<int>(threadIdx.x % 32); }

  PAGODA_DEVICE static float quad_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
  }
  PAGODA_DEVICE static float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
  }

  // A fragment of Q: matrices (rows 0-7, columns 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15).
  PAGODA_DEVICE void load_query(int step, uint32_t (&a)[4]) const {
    sm90::ldmatrix_x4(a, query_smem_ + QueryTile::chunk_offset(query_row_, 2 * step + lane() / 16));
  }

  // x[j] = Q K^T for keys 8 j ... 8 j + 7 of the chunk.
  PAGODA_DEVICE void multiply_keys(const KvTile& k, int tile_row, float (&x)[2][4]) const {
    const uint32_t smem = smem_address(k.elements);
    // Lanes 0-7: keys 0-7, columns 0-7; 8-15: columns 8-15; 16-31 the same for keys 8-15.
    const int row = tile_row + lane() % 8 + lane() / 16 * 8;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      uint32_t keys[4];
      sm90::ldmatrix_x4(keys, smem + KvTile::chunk_offset(row, 2 * step + lane() / 8 % 2));
      const uint32_t first[2] = {keys[0], keys[1]};
      const uint32_t second[2] = {keys[2], keys[3]};
      if constexpr (Config::kQueryInRegisters) {
        sm90::mma_m16n8k16<T>(x[0], query_[step], first);
        sm90::mma_m16n8k16<T>(x[1], query_[step], second);
      } else {
        uint32_t query[4];
        load_query(step, query);
        sm90::mma_m16n8k16<T>(x[0], query, first);
        sm90::mma_m16n8k16<T>(x[1], query, second);
      }
    }
  }

  PAGODA_DEVICE static int key_of(int j, int i) {
    return 8 * j + 2 * (lane() % 4) + i % 2;
  }

  // Dots to logits in base 2; hidden keys become -inf.
  PAGODA_DEVICE void to_logits(float (&x)[2][4], int32_t first_key, bool masked,
                               KvRange there) const {
    for (int j = 0; j < 2; ++j) {
      for (int i = 0; i < 4; ++i) {
        const int row = i / 2;
        const int32_t key = first_key + key_of(j, i);
        x[j][i] = plain_ ? x[j][i] * (scale_ * kLog2e) : full_logit(x[j][i], row, key);
        if (masked && !sees(row, key, there)) x[j][i] = -kInfinity;
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

  PAGODA_DEVICE bool sees(int row, int32_t key, KvRange there) const {
    const KvRange kv = warp_rows_.lane.kv[row];
    if (key < max_of(kv.begin, there.begin) || key >= min_of(kv.end, there.end)) return false;
    return is_interval(rows_.rule) || is_visible(rows_.rule, warp_rows_.lane.q_pos[row], key);
  }

  PAGODA_DEVICE static uint32_t hidden_bits(const float (&x)[2][4]) {
    uint32_t bits = 0;
    for (int j = 0; j < 2; ++j) {
      for (int i = 0; i < 4; ++i) bits |= x[j][i] == -kInfinity ? 1u << (4 * j + i) : 0u;
    }
    return bits;
  }

  // The online softmax: logits become weights, the rows' state and outputs move on.
  PAGODA_DEVICE void to_weights(float (&x)[2][4]) {
    for (int row = 0; row < 2; ++row) {
      const int i = 2 * row;
      const float largest =
          quad_max(fmaxf(fmaxf(x[0][i], x[0][i + 1]), fmaxf(x[1][i], x[1][i + 1])));
      const float old_max = max_log2_[row];
      const float new_max = fmaxf(old_max, largest);
      const float anchor = softmax_anchor(new_max);
      const float factor = exp2_of(old_max - anchor);
      max_log2_[row] = new_max;
      if (__any_sync(0xffffffffu, old_max < new_max)) {
        for (auto& group : out_) group[i] *= factor, group[i + 1] *= factor;
      }
      sum_[row] *= factor;
      for (int j = 0; j < 2; ++j) {
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
    const int key = lane() / 2;
    bool finite = true;
    for (int c = lane() % 2; c < KvTile::kChunks; c += 2) {
      const uint4 bits =
          sm90::load_shared_16(smem_address(v.elements) + KvTile::chunk_offset(tile_row + key, c));
      for (uint32_t pair : {bits.x, bits.y, bits.z, bits.w}) {
        finite = finite && is_finite(pair & 0xffffu) && is_finite(pair >> 16);
      }
    }
    const uint32_t votes = __ballot_sync(0xffffffffu, !finite);
    uint32_t keys = 0;
    for (int i = 0; i < kChunkKeys; ++i) keys |= (votes >> (2 * i) & 3u) != 0 ? 1u << i : 0u;
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
    const uint32_t smem = smem_address(v.elements);
    // Lanes 0-7: keys 0-7, columns 0-7; 8-15: keys 8-15; 16-31 the same for columns 8-15.
    const int row = tile_row + lane() % 16;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      uint32_t values[4];
      sm90::ldmatrix_x4_trans(values, smem + KvTile::chunk_offset(row, 2 * step + lane() / 16));
      const uint32_t first[2] = {values[0] & keep[0], values[1] & keep[1]};
      const uint32_t second[2] = {values[2] & keep[0], values[3] & keep[1]};
      sm90::mma_m16n8k16<T>(out_[2 * step], weights, first);
      sm90::mma_m16n8k16<T>(out_[2 * step + 1], weights, second);
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
      for (int row = 0; row < 2; ++row) {
        weight[row] = from_key_owner(x, key, row);
        hides[row] = bit_from_key_owner(hidden, key, row);
      }
#pragma unroll
      for (int g = 0; g < kColumnGroups; ++g) {
        for (int i = 0; i < 4; ++i) {
          const int column = 2 * (lane() % 4) + i % 2;
          const uint32_t offset =
              KvTile::chunk_offset(tile_row + key, g) + static_cast<uint32_t>(column) * 2;
          const T value =
              *reinterpret_cast<const T*>(reinterpret_cast<const char*>(v.elements) + offset);
          if (!hides[i / 2]) out_[g][i] += weight[i / 2] * to_float(value);
        }
      }
    }
  }

  // x of (this lane's row, key), from the lane of its quad that holds the key.
  PAGODA_DEVICE static float from_key_owner(const float (&x)[2][4], int key, int row) {
    float value = 0.0f;
    for (int j = 0; j < 2; ++j) {
      for (int i = 0; i < 2; ++i) {
        if (key / 8 == j && key % 2 == i) value = x[j][2 * row + i];
      }
    }
    return __shfl_sync(0xffffffffu, value, (lane() & ~3) | (key % 8 / 2));
  }
  PAGODA_DEVICE static bool bit_from_key_owner(uint32_t bits, int key, int row) {
    const uint32_t bit = bits >> (4 * (key / 8) + 2 * row + key % 2) & 1u;
    return __shfl_sync(0xffffffffu, bit, (lane() & ~3) | (key % 8 / 2)) != 0;
  }

  const AttentionParams& params_;
  const ItemRows& rows_;
  const WarpRows& warp_rows_;
  const float scale_;
  bool plain_;
  uint32_t query_smem_;
  int query_row_;
  uint32_t query_[Config::kQueryInRegisters ? kSteps : 1][4];
  float out_[kColumnGroups][4];
  float max_log2_[2];
  float sum_[2];
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_MATH_CUH_
