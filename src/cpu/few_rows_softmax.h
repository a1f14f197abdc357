// The few-rows kernels' softmax over a tile: dots to weights, and values that are not finite.
#ifndef PAGODA_CPU_FEW_ROWS_SOFTMAX_H_
#define PAGODA_CPU_FEW_ROWS_SOFTMAX_H_

#include "cpu/few_rows_tile.h"
#include "cpu/lane_blocks.h"
#include "plan/item_rows.h"
#include "semantics/score.h"
#include "semantics/softmax.h"

namespace pagoda::cpu {
namespace {

// Rows while keys are added to them: their largest logits, in natural units, and the sums of
// weights relative to these.
struct RunningRows {
  float* max;
  float* sum;
};

// Dots of one row with a tile's keys to logits, hidden keys -inf.
template <int kVectors>
PAGODA_HD void row_logits(const AttentionParams& params, const ItemRows& rows,
                          const KeyTile<kVectors * kLanes>& tile, int32_t kv_head, int32_t row,
                          float scale, const float* token_scale, F32 (&x)[kVectors]) {
  const auto key_scale = [&](int g) {
    return token_scale == nullptr ? F32(scale) : F32(scale) * F32::load(token_scale + g * kLanes);
  };
  if (is_plain_score(params.score) && !tile.masked) {  // most tiles: where rows stand is not asked
    for (int g = 0; g < kVectors; ++g) x[g] = x[g] * key_scale(g);
    return;
  }
  const int32_t q_pos = rows.q_pos(row);
  const float slope = Alibi::slope(params.score, rows.q_head(kv_head, row));
  for (int g = 0; g < kVectors; ++g) {
    const int32_t first = tile.keys.begin + g * kLanes;
    const I32 key = I32(first) + I32::iota();
    ScorePlace<F32> place{F32(slope), F32(key - I32(q_pos)), F32(0.0f)};
    if (Bias::active(params.score)) {
      for (int i = 0; i < kLanes; ++i) {
        place.bias.raw[i] = Bias::value(params.score, rows.seq, rows.q_idx(row),
                                        first + i - rows.rule.context_len());
      }
    }
    x[g] = logit(params.score, x[g], key_scale(g), place);
    if (!tile.masked) continue;
    const KvRange kv = any_visible(rows.rule, q_pos, q_pos);
    const int32_t end = tile.keys.begin + tile.keys.num_keys;
    Mask32 visible = (key >= I32(kv.begin)) & (key < I32(min_of(kv.end, end)));
    if (!is_interval(rows.rule)) {
      for (int i = 0; i < kLanes; ++i) {
        if (visible.raw[i] != 0 && !is_visible(rows.rule, q_pos, first + i)) visible.raw[i] = 0;
      }
    }
    x[g] = select(visible, x[g], F32(-kInfinity));
  }
}

// update_rows() of one block of rows, kCount of them.
template <int kCount, int kVectors>
PAGODA_HD void update_block(RunningRows rows, const F32 (*x)[kVectors],
                            float (*weights)[kVectors * kLanes], float* factors) {
  const F32 to_log2(kLog2e);
  F32 of_row[kBlockLanes];  // what is left to fold; rows that are not there repeat the first
  for (int r = 0; r < kBlockLanes; ++r) {
    const F32* row = x[r < kCount ? r : 0];
    of_row[r] = row[0];
    for (int g = 1; g < kVectors; ++g) of_row[r] = max_lanes(of_row[r], row[g]);
  }
  const F32 old_max = load_block<kCount>(rows.max);
  const F32 max = max_lanes(fold_blocks(fold_lanes(of_row, Max()), Max()), old_max);
  const F32 anchors = softmax_anchor(max);
  const F32 anchor[] = {repeat_lane<0>(anchors), repeat_lane<1>(anchors), repeat_lane<2>(anchors),
                        repeat_lane<3>(anchors)};
  for (int r = 0; r < kCount; ++r) {
    of_row[r] = F32(0.0f);
    for (int g = 0; g < kVectors; ++g) {
      const F32 weight = softmax_weight(x[r][g], anchor[r], to_log2);
      of_row[r] = of_row[r] + weight;
      weight.store(weights[r] + g * kLanes);
    }
  }
  const F32 tile_sum = fold_blocks(fold_lanes(of_row, Add()), Add());
  const F32 factor = select(old_max < max, softmax_weight(old_max, anchors, to_log2), F32(1.0f));
  store_block<kCount>(max, rows.max);
  store_block<kCount>(load_block<kCount>(rows.sum) * factor + tile_sum, rows.sum);
  store_block<kCount>(factor, factors);
}

// The online softmax over one tile: logits become weights, rows move on, and what the rows'
// outputs so far are multiplied by is set. Rows are taken a block at a time, a row a lane, where
// lanes are added up: one by one, each would be a chain of latencies.
template <int kRows, int kVectors>
PAGODA_HD void update_rows(RunningRows rows, const F32 (*x)[kVectors],
                           float (*weights)[kVectors * kLanes], float* factors) {
  constexpr int kCount = kRows < kBlockLanes ? kRows : kBlockLanes;
  update_block<kCount>(rows, x, weights, factors);
  if constexpr (kCount < kRows) {
    update_rows<kRows - kCount>({rows.max + kCount, rows.sum + kCount}, x + kCount,
                                weights + kCount, factors + kCount);
  }
}

// The weights of V with its scale per token, which is garbage where the key is hidden.
template <int kVectors>
PAGODA_HD void scale_weights(const F32 (&x)[kVectors], const float* v_scale, float* weights) {
  for (int g = 0; g < kVectors; ++g) {
    const F32 weight = F32::load(weights + g * kLanes) * F32::load(v_scale + g * kLanes);
    select(x[g] == F32(-kInfinity), F32(0.0f), weight).store(weights + g * kLanes);
  }
}

// Values that are not finite, in a tile that rows see in part: 0 * NaN is NaN, so they are taken
// out of the sum, and added to the rows that see them.
template <int kRows, int kTileKeys>
struct InfiniteValues {
  int32_t num_keys = 0;
  int64_t v_offset[kTileKeys];
  float weights[kRows][kTileKeys];
  bool visible[kRows][kTileKeys];
};

template <class T, int kTileKeys, int kRows, int kVectors>
void take_infinite(const HeadTile<T, kTileKeys>& head, const F32 (&x)[kRows][kVectors],
                   int32_t head_dim, Weighed<kRows, kTileKeys>* weighed,
                   InfiniteValues<kRows, kTileKeys>* infinite) {
  int32_t kept = 0;
  for (int32_t i = 0; i < weighed->num_keys; ++i) {
    const int64_t offset = weighed->v_offset[i];
    const bool is_finite = is_finite_row(head.v + offset, head_dim);
    const int32_t n = infinite->num_keys;
    for (int r = 0; r < kRows; ++r) {
      const float weight = weighed->weights[r][i];
      infinite->weights[r][n] = weight;
      infinite->visible[r][n] = x[r][i / kLanes].raw[i % kLanes] != -kInfinity;
      weighed->weights[r][kept] = weight;
    }
    infinite->v_offset[n] = offset;
    weighed->v_offset[kept] = offset;
    infinite->num_keys += !is_finite;
    kept += is_finite;
  }
  weighed->num_keys = kept;
}

template <class T, int kTileKeys, int kRows>
void add_infinite(const HeadTile<T, kTileKeys>& head,
                  const InfiniteValues<kRows, kTileKeys>& infinite, int32_t head_dim,
                  RowStates result) {
  for (int32_t i = 0; i < infinite.num_keys; ++i) {
    const T* row = head.v + infinite.v_offset[i];
    for (int r = 0; r < kRows; ++r) {
      if (!infinite.visible[r][i]) continue;
      float* out = result.out + r * result.out_stride;
      for (int32_t d = 0; d < head_dim; ++d) out[d] += infinite.weights[r][i] * to_float(row[d]);
    }
  }
}

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_FEW_ROWS_SOFTMAX_H_
