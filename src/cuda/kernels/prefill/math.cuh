// What one warpgroup computes: 64 rows against 128 keys at a time, in wgmma. Scores, weights and
// outputs stay in registers. A thread has two rows of the 64 and a quarter of their columns
// (tile::Fragment says which).
#ifndef PAGODA_CUDA_KERNELS_PREFILL_MATH_CUH_
#define PAGODA_CUDA_KERNELS_PREFILL_MATH_CUH_

#include "cuda/kernels/prefill/config.h"
#include "cuda/kernels/prefill/soft_cap.cuh"
#include "cuda/kernels/to_f16.cuh"
#include "cuda/sm90/ldst.cuh"
#include "cuda/sm90/wgmma.cuh"
#include "cuda/tile/fragment.cuh"
#include "semantics/mask.h"
#include "semantics/softmax.h"

namespace pagoda::cuda {

// Where a thread's two rows, and its warpgroup's 64, stand among the keys. Masks are intervals.
struct GroupRows {
  KvRange lane[2];   // what each of the thread's rows sees
  KvRange unmasked;  // keys that all rows of the group see

  PAGODA_DEVICE GroupRows(const ItemRows& rows, int first_row, KvRange there) {
    const int last = rows.num_rows - 1;
    const int thread = static_cast<int>(threadIdx.x % 128);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      // Rows past the last repeat it; nothing is written for them.
      const int row = min_of(first_row + thread / 32 * 16 + thread % 32 / 4 + 8 * i, last);
      lane[i] = interval_kv(rows.rule, rows.q_pos(row));
      lane[i] = {max_of(lane[i].begin, there.begin), min_of(lane[i].end, there.end)};
    }
    const KvRange first = interval_kv(rows.rule, rows.q_pos(min_of(first_row, last)));
    const KvRange final = interval_kv(rows.rule, rows.q_pos(min_of(first_row + 63, last)));
    unmasked = {max_of(final.begin, there.begin), min_of(first.end, there.end)};
  }
};

template <class Config>
class GroupMath {
 public:
  using T = typename Config::T;
  using KeyTile = typename Config::KeyTile;
  static constexpr int kKeys = Config::kTileKeys;
  // What weights are kept as a multiple of, and what it takes to undo that.
  static constexpr bool kLargeWeights = Config::kKv8Bit && std::is_same_v<T, Float16>;
  static constexpr float kWeightLog2 = kLargeWeights ? kF16WeightLog2 : 0.0f;
  static constexpr float kWeightUnit = kLargeWeights ? kF16WeightUnit : 1.0f;

  tile::Fragment<Config::kHeadDim> out;

  // `scale`: softmax_scale * q_scale * k_scale.
  PAGODA_DEVICE GroupMath(const ScoreParams& score, float scale) {
    if constexpr (Config::kSoftCap) {
      // Capped scores are in units of the cap.
      scale_log2_ = score.logits_soft_cap * kLog2e;
      cap_scale_ = fminf(scale * (1.0f / score.logits_soft_cap), kLargestFinite);
    } else {
      scale_log2_ = scale * kLog2e;
      if constexpr (Config::kKv8Bit) scale_log2_ = fmaxf(scale_log2_, kSmallestNormal);
    }
    out.fill(0.0f);
#pragma unroll
    for (int i = 0; i < 2; ++i) max_[i] = -kInfinity, sum_[i] = 0.0f;
  }

  PAGODA_DEVICE void cap() {
#pragma unroll
    for (float& score : scores_.at) score = tanh_by_exp2(score * cap_scale_);
  }

  // Begins scores <- Q K^T.
  PAGODA_DEVICE void begin_scores(const sm90::WgmmaDesc& query, const sm90::WgmmaDesc& keys) {
    sm90::wgmma_fence();
#pragma unroll
    for (int k = 0; k < Config::kHeadDim; k += 16) {
      sm90::wgmma_ss<T>(scores_.at, query.advanced(Config::QueryTile::k_major_offset(k)),
                        keys.advanced(KeyTile::k_major_offset(k)), k > 0);
    }
    sm90::wgmma_commit();
  }

  // Begins out += weights V.
  PAGODA_DEVICE void begin_values(const sm90::WgmmaDesc& values) {
    sm90::wgmma_fence();
#pragma unroll
    for (int k = 0; k < kKeys; k += 16) {
      sm90::wgmma_rs<T, sm90::Major::kMn>(out.at, weights_[k / 16],
                                          values.advanced(KeyTile::mn_major_offset(k)), true);
    }
    sm90::wgmma_commit();
  }

  PAGODA_DEVICE void pin_scores() {
    sm90::pin_registers(scores_.at);
  }
  PAGODA_DEVICE void pin_out() {
    sm90::pin_registers(out.at);
  }

  // Scores of keys that a row does not see become -inf.
  PAGODA_DEVICE void hide(const GroupRows& rows, int32_t first_key) {
    const int32_t key = first_key + 2 * static_cast<int32_t>(threadIdx.x % 4);
#pragma unroll
    for (int i = 0; i < scores_.kSize; ++i) {
      const KvRange& kv = rows.lane[scores_.row_slot(i)];
      const int32_t at = key + 8 * (i >> 2) + (i & 1);
      if (at < kv.begin || at >= kv.end) scores_.at[i] = -kInfinity;
    }
  }

  // New maxima; says what the outputs so far are to be multiplied by.
  PAGODA_DEVICE void raise_maxima(float (&rescale)[2]) {
    to_log2_ = scale_log2_;
    bool is_large = false;
    float former[2];
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      former[row] = max_[row];
      max_[row] = tile::quad_max(scores_.row_max(row, former[row]));
      anchor_[row] = softmax_anchor(__fmul_rn(max_[row], scale_log2_));
      rescale[row] = sm90::exp2_approx(__fmul_rn(former[row], scale_log2_) - anchor_[row]);
      is_large = is_large || fabsf(anchor_[row]) >= kLargeLogit;
    }
    if (__any_sync(0xffffffffu, is_large)) subtract_maxima(former, rescale);
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      sum_[row] *= rescale[row];
      if constexpr (kLargeWeights) anchor_[row] -= kWeightLog2;
    }
  }

  // Scores times the scales of their keys.
  PAGODA_DEVICE void scale_scores(const float (&scales)[kKeys]) {
    const float* own = scales + 2 * (threadIdx.x % 4);
#pragma unroll
    for (int i = 0; i < scores_.kSize; i += 4) {
      const float2 scale = *reinterpret_cast<const float2*>(own + 2 * i);
#pragma unroll
      for (int j = 0; j < 4; ++j) scores_.at[i + j] *= j % 2 == 0 ? scale.x : scale.y;
    }
  }

  // Scores of the keys of slices [kBegin, kEnd) of 16 become weights.
  template <int kBegin, int kEnd>
  PAGODA_DEVICE void weigh() {
#pragma unroll
    for (int i = 8 * kBegin; i < 8 * kEnd; ++i) {
      const int row = scores_.row_slot(i);
      scores_.at[i] = sm90::exp2_approx(fmaf(scores_.at[i], to_log2_, -anchor_[row]));
      sum_[row] += scores_.at[i];
    }
  }

  // The rounded weights, as an operand: only once the last product with the former ones is done.
  template <int kBegin, int kEnd>
  PAGODA_DEVICE void pack_weights() {
#pragma unroll
    for (int k = kBegin; k < kEnd; ++k) scores_.template to_a_operand<T>(k, weights_[k]);
  }

  // Maxima settle after a few tiles.
  PAGODA_DEVICE static bool any_grew(const float (&factor)[2]) {
    return __any_sync(0xffffffffu, factor[0] != 1.0f || factor[1] != 1.0f);
  }

  PAGODA_DEVICE void rescale_out(const float (&factor)[2]) {
#pragma unroll
    for (int row = 0; row < 2; ++row) out.scale_row(row, factor[row]);
  }

  // Of all threads of the warpgroup: are the values of the tile's keys [begin, end) finite? 0 * NaN
  // is NaN, so others must not be multiplied where weights are 0 because keys are hidden.
  PAGODA_DEVICE static bool all_finite(const KeyTile& values, int begin, int end) {
    constexpr int kChunks = Config::kHeadDim / 8;
    uint32_t sums[4] = {};  // of values times 0: NaN where one is not finite
#pragma unroll 4
    for (int i = begin * kChunks + static_cast<int>(threadIdx.x % 128); i < end * kChunks;
         i += 128) {
      const uint4 bits = sm90::load_shared_16(values.address(i / kChunks, i % kChunks * 8));
      sums[0] = sm90::fma_pair<T>(bits.x, 0, sums[0]);
      sums[1] = sm90::fma_pair<T>(bits.y, 0, sums[1]);
      sums[2] = sm90::fma_pair<T>(bits.z, 0, sums[2]);
      sums[3] = sm90::fma_pair<T>(bits.w, 0, sums[3]);
    }
    return ((sums[0] | sums[1] | sums[2] | sums[3]) & 0x7fff7fffu) == 0;  // zeros, of either sign
  }

  // out += weights V, value by value, leaving hidden keys out.
  PAGODA_DEVICE void add_values_singly(const KeyTile& values, const GroupRows& rows,
                                       int32_t first_key) {
    const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll 1
    for (int key = 0; key < kKeys; ++key) {
      const int owner = (lane & ~3) | (key % 8 / 2);
      const uint32_t kept[2] = {weight_pair(key, 0), weight_pair(key, 1)};
      float weight[2];
      bool sees[2];
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const uint32_t pair = __shfl_sync(0xffffffffu, kept[row], owner);
        weight[row] = to_float(T{static_cast<uint16_t>(key % 2 == 0 ? pair : pair >> 16)});
        const int32_t at = first_key + key;
        sees[row] = at >= rows.lane[row].begin && at < rows.lane[row].end;
      }
#pragma unroll
      for (int i = 0; i < out.kSize; ++i) {
        const int column = 8 * (i >> 2) + 2 * (lane % 4) + (i & 1);
        const T value = *reinterpret_cast<const T*>(values.bytes + KeyTile::offset(key, column));
        if (sees[out.row_slot(i)]) out.at[i] += weight[out.row_slot(i)] * to_float(value);
      }
    }
  }

  // The state of the thread's row `slot`, 0 or 1, which lanes may choose differently; the row's
  // outputs are still to be multiplied by the factor.
  PAGODA_DEVICE RoundedState state(int slot) const {
    const float sums[2] = {tile::quad_sum(sum_[0]), tile::quad_sum(sum_[1])};
    const float sum = (slot == 0 ? sums[0] : sums[1]) * kWeightUnit;
    const float max = slot == 0 ? max_[0] : max_[1];
    const float max_log2 = __fmul_rn(max, scale_log2_);
    if (fabsf(max_log2) < kLargeLogit) return {{max_log2, sum}, kWeightUnit};
    RoundedState rounded = rounded_state(max, sum, scale_log2_);
    rounded.factor *= kWeightUnit;
    return rounded;
  }

 private:
  // Below this, weights are relative to the maximum as it is after scaling and rounding. Where it
  // comes to this or leaves it, that and the maximum differ by no more than 2^-17.
  static constexpr float kLargeLogit = 256.0f;
  // The inverse of a subnormal cap is infinite, and 0 times that no number.
  static constexpr float kLargestFinite = 0x1.fffffep127f;

  // The slower way, which is exact where it matters however large the logits are: the difference
  // comes first, the largest weight is 1.
  PAGODA_DEVICE void subtract_maxima(const float (&former)[2], float (&rescale)[2]) {
    float largest[2];
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      largest[row] = softmax_anchor(max_[row]);
      rescale[row] = sm90::exp2_approx((former[row] - largest[row]) * scale_log2_);
      anchor_[row] = 0.0f;
    }
#pragma unroll
    for (int i = 0; i < scores_.kSize; ++i) {
      const int row = scores_.row_slot(i);
      scores_.at[i] -= largest[row];
      scores_.at[i] *= scale_log2_;
    }
    to_log2_ = 1.0f;
  }

  // This thread's pair of weights of keys near `key`, if it has one: every candidate is looked at,
  // for choosing by index would put the registers into memory.
  PAGODA_DEVICE uint32_t weight_pair(int key, int row) const {
    uint32_t pair = 0;
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (key / 8 == 2 * k + half) pair = weights_[k][2 * half + row];
      }
    }
    return pair;
  }

  TypeIf<Config::kSoftCap, float> cap_scale_;  // of scores that are to be capped
  float scale_log2_;
  float to_log2_;    // of scores_ as they are
  float anchor_[2];  // of scores_ times to_log2_
  tile::Fragment<kKeys> scores_;
  uint32_t weights_[kKeys / 16][4];
  float max_[2];  // of the scores, not scaled
  float sum_[2];
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PREFILL_MATH_CUH_
