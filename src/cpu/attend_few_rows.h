// Decode and short verification: at most kFewRowsMax rows per KV head. head_dim lies in the vector
// lanes; K and V are read where they are, a tile of keys at a time, for all heads of the item
// before the next tile, which is the order of an NHD cache in memory.
#ifndef PAGODA_CPU_ATTEND_FEW_ROWS_H_
#define PAGODA_CPU_ATTEND_FEW_ROWS_H_

#include "core/paged_kv.h"
#include "cpu/kernels.h"
#include "cpu/load_rows.h"
#include "cpu/simd.h"
#include "plan/item_rows.h"
#include "semantics/quant.h"

namespace pagoda::cpu {
namespace {

constexpr int kTileKeys = 16;
constexpr int kTileVectors = kTileKeys / kLanes;
// Rows that share one pass over a tile: their Q, scores and outputs fit the registers.
constexpr int kRowsPerPass = 4;
// Tiles of one head between the one being computed and the one being prefetched into L2. With
// several heads the other heads' tiles lie between, so the next tile of the same is far enough.
constexpr int kPrefetchTiles = 4;

// Where the rows of some keys lie, without their head. Past num_keys the last key repeats, so that
// whole tiles can be read.
struct KeyRows {
  int32_t num_keys;  // 1 to kTileKeys, or 0
  TokenSlot slots[kTileKeys];
  int64_t k_offset[kTileKeys];
  int64_t v_offset[kTileKeys];

  PAGODA_HD KeyRows(const PagedKvParams& kv, const int32_t* pages, int32_t begin, int32_t end)
      : num_keys(max_of(end - begin, 0)) {
    for (int i = 0; i < kTileKeys && num_keys > 0; ++i) {
      slots[i] = token_slot(pages, kv.page_size, min_of(begin + i, end - 1));
      k_offset[i] = row_offset(kv.k, slots[i], 0);
      v_offset[i] = row_offset(kv.v, slots[i], 0);
    }
  }
};

struct KeyTile {
  int32_t begin;
  bool masked;  // some row does not see some key
  KeyRows keys;
  KeyRows next;  // some tiles on, fetched into L2 row by row between this tile's
};

// The rows of one head in one tile, and the rows of `next`.
template <class T>
struct HeadTile {
  const KeyTile& tile;
  const T* k;  // + k_offset: a row
  const T* v;
  bool has_token_scales;
  alignas(64) float k_scale[kTileKeys];
  alignas(64) float v_scale[kTileKeys];
};

template <class T>
PAGODA_HD const T* head_rows(const PagesParams& pages, int32_t kv_head) {
  return static_cast<const T*>(pages.data) + kv_head * pages.head_stride;
}

template <class T>
PAGODA_HD HeadTile<T> head_tile(const AttentionParams& params, const KeyTile& tile,
                                int32_t kv_head) {
  const PagedKvParams& kv = params.kv;
  HeadTile<T> head{.tile = tile,
                   .k = head_rows<T>(kv.k, kv_head),
                   .v = head_rows<T>(kv.v, kv_head),
                   .has_token_scales = kv.k_token_scale.data != nullptr,
                   .k_scale = {},
                   .v_scale = {}};
  for (int i = 0; head.has_token_scales && i < kTileKeys; ++i) {
    head.k_scale[i] = *scale_address(kv.k_token_scale, tile.keys.slots[i], kv_head);
    head.v_scale[i] = *scale_address(kv.v_token_scale, tile.keys.slots[i], kv_head);
  }
  return head;
}

template <class T>
PAGODA_HD void prefetch_row(const T* row, int32_t head_dim) {
  for (int32_t d = 0; d < head_dim; d += 64 / static_cast<int32_t>(sizeof(T))) {
    __builtin_prefetch(row + d, 0, 2);
  }
}

// dots[r][key] = dot(q_r, k_key). q rows are padded with zeros to whole vectors.
template <class T, int kRows>
PAGODA_HD void dot_tile(const HeadTile<T>& head, const float* q, int32_t q_stride, int32_t head_dim,
                        F32 (&dots)[kRows][kTileVectors]) {
  F32 sums[kRows][kTileVectors][kLanes];
  constexpr int kKeys = 4;
  for (int i = 0; i < kTileKeys; i += kKeys) {
    F32 sum[kRows][kKeys];
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < kKeys; ++j) sum[r][j] = F32(0.0f);
    }
    for (int j = 0; j < kKeys && i + j < head.tile.next.num_keys; ++j) {
      prefetch_row(head.k + head.tile.next.k_offset[i + j], head_dim);
    }
    const T* keys[kKeys];
    for (int j = 0; j < kKeys; ++j) keys[j] = head.k + head.tile.keys.k_offset[i + j];
    auto step = [&](int32_t d, int count) {
      F32 key[kKeys];
      for (int j = 0; j < kKeys; ++j) key[j] = load_elements(keys[j] + d, count);
      for (int r = 0; r < kRows; ++r) {
        const F32 query = F32::load(q + r * q_stride + d);
        for (int j = 0; j < kKeys; ++j) sum[r][j] = fma(query, key[j], sum[r][j]);
      }
    };
    int32_t d = 0;
    for (; d + kLanes <= head_dim; d += kLanes) step(d, kLanes);
    if (d < head_dim) step(d, kLanes / 2);
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < kKeys; ++j) sums[r][(i + j) / kLanes][(i + j) % kLanes] = sum[r][j];
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int g = 0; g < kTileVectors; ++g) dots[r][g] = sums_of(sums[r][g]);
  }
}

// The values that rows add up: where they lie, and each row's weight of each.
template <int kRows>
struct Weighed {
  int32_t num_keys;
  int64_t v_offset[kTileKeys];
  alignas(64) float weights[kRows][kTileKeys];
  float factors[kRows];  // of what the rows have so far
};

// out_r <- out_r * factor_r + sum over keys of weight_r,key * v_key, for `kVectors` vectors of
// head_dim from d on.
template <class T, int kRows, int kVectors>
PAGODA_HD void weigh_block(const HeadTile<T>& head, const Weighed<kRows>& weighed, int32_t head_dim,
                           int32_t d, int count, RowStates result) {
  F32 sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int b = 0; b < kVectors; ++b) {
      sum[r][b] =
          F32::load(result.out + r * result.out_stride + d + b * kLanes) * F32(weighed.factors[r]);
    }
  }
  for (int32_t i = 0; i < weighed.num_keys; ++i) {
    if (d == 0 && i < head.tile.next.num_keys) {
      prefetch_row(head.v + head.tile.next.v_offset[i], head_dim);
    }
    const T* row = head.v + weighed.v_offset[i] + d;
    F32 value[kVectors];
    for (int b = 0; b < kVectors; ++b) value[b] = load_elements(row + b * kLanes, count);
    for (int r = 0; r < kRows; ++r) {
      const F32 weight(weighed.weights[r][i]);
      for (int b = 0; b < kVectors; ++b) sum[r][b] = fma(weight, value[b], sum[r][b]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int b = 0; b < kVectors; ++b) {
      sum[r][b].store(result.out + r * result.out_stride + d + b * kLanes);
    }
  }
}

template <class T, int kRows>
PAGODA_HD void weigh_tile(const HeadTile<T>& head, const Weighed<kRows>& weighed, int32_t head_dim,
                          RowStates result) {
  constexpr int kVectors = kLanes >= 16 ? 4 : 2;  // sums that the registers hold
  int32_t d = 0;
  for (; d + kVectors * kLanes <= head_dim; d += kVectors * kLanes) {
    weigh_block<T, kRows, kVectors>(head, weighed, head_dim, d, kLanes, result);
  }
  for (; d + kLanes <= head_dim; d += kLanes) {
    weigh_block<T, kRows, 1>(head, weighed, head_dim, d, kLanes, result);
  }
  if (d < head_dim) weigh_block<T, kRows, 1>(head, weighed, head_dim, d, kLanes / 2, result);
}

// Dots of one row with a tile's keys to base-2 logits, hidden keys -inf.
PAGODA_HD void row_logits(const AttentionParams& params, const ItemRows& rows, const KeyTile& tile,
                          int32_t kv_head, int32_t row, float scale, const float* token_scale,
                          F32 (&x)[kTileVectors]) {
  const int32_t q_pos = rows.q_pos(row);
  const int32_t end = tile.begin + tile.keys.num_keys;
  const KvRange kv = any_visible(rows.rule, q_pos, q_pos);
  const float slope = Alibi::slope(params.score, rows.q_head(kv_head, row));
  for (int g = 0; g < kTileVectors; ++g) {
    const int32_t first = tile.begin + g * kLanes;
    const I32 key = I32(first) + I32::iota();
    F32 key_scale(scale);
    if (token_scale != nullptr) key_scale = key_scale * F32::load(token_scale + g * kLanes);
    ScorePlace<F32> place{F32(slope), F32(key - I32(q_pos)), F32(0.0f)};
    if (Bias::active(params.score)) {
      for (int i = 0; i < kLanes; ++i) {
        place.bias.raw[i] = Bias::value(params.score, rows.seq, rows.q_idx(row),
                                        first + i - rows.rule.context_len());
      }
    }
    x[g] = logit(params.score, x[g], key_scale, place) * F32(kLog2e);
    if (!tile.masked) continue;
    Mask32 visible = (key >= I32(kv.begin)) & (key < I32(min_of(kv.end, end)));
    if (!is_interval(rows.rule)) {
      for (int i = 0; i < kLanes; ++i) {
        if (visible.raw[i] != 0 && !is_visible(rows.rule, q_pos, first + i)) visible.raw[i] = 0;
      }
    }
    x[g] = select(visible, x[g], F32(-kInfinity));
  }
}

// The online softmax over one tile: logits become weights, `state` moves on. Returns what the
// row's output so far is multiplied by.
PAGODA_HD float update_row(SoftmaxState* state, const F32 (&x)[kTileVectors], float* weights) {
  F32 largest = x[0];
  for (int g = 1; g < kTileVectors; ++g) largest = max_lanes(largest, x[g]);
  const float tile_max = max_of_lanes(largest);
  const float old_max = state->max_log2;
  float factor = 1.0f;
  if (old_max < tile_max) {
    state->max_log2 = tile_max;
    factor = exp2_of(F32(old_max - softmax_anchor(tile_max))).raw[0];
  }
  const F32 anchor(softmax_anchor(state->max_log2));
  F32 sum(0.0f);
  for (int g = 0; g < kTileVectors; ++g) {
    const F32 weight = softmax_weight(x[g], anchor);
    sum = sum + weight;
    weight.store(weights + g * kLanes);
  }
  state->sum = state->sum * factor + sum_lanes(sum);
  return factor;
}

template <class T>
PAGODA_HD bool is_finite_row(const T* row, int32_t head_dim) {
  float zero = 0.0f;
  for (int32_t d = 0; d < head_dim; ++d) zero += to_float(row[d]) - to_float(row[d]);
  return zero == 0.0f;
}

// Values that are not finite, in a tile that rows see in part: 0 * NaN is NaN, so they are taken
// out of the sum, and added to the rows that see them.
template <int kRows>
struct InfiniteValues {
  int32_t num_keys = 0;
  int64_t v_offset[kTileKeys];
  float weights[kRows][kTileKeys];
  bool visible[kRows][kTileKeys];
};

template <class T, int kRows>
void take_infinite(const HeadTile<T>& head, const F32 (&x)[kRows][kTileVectors], int32_t head_dim,
                   Weighed<kRows>* weighed, InfiniteValues<kRows>* infinite) {
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

template <class T, int kRows>
void add_infinite(const HeadTile<T>& head, const InfiniteValues<kRows>& infinite, int32_t head_dim,
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

// kRows rows of one head over one tile.
template <class T, int kRows>
void attend_rows(const AttentionParams& params, const ItemRows& rows, const HeadTile<T>& head,
                 int32_t kv_head, int32_t row, const float* q, RowStates result) {
  const KeyTile& tile = head.tile;
  F32 x[kRows][kTileVectors];
  dot_tile<T, kRows>(head, q, result.out_stride, params.head_dim, x);
  Weighed<kRows> weighed;
  weighed.num_keys = tile.keys.num_keys;
  __builtin_memcpy(weighed.v_offset, tile.keys.v_offset, sizeof(weighed.v_offset));
  const float scale = logit_scale(params, rows.seq, kv_head);
  for (int r = 0; r < kRows; ++r) {
    row_logits(params, rows, tile, kv_head, row + r, scale,
               head.has_token_scales ? head.k_scale : nullptr, x[r]);
    float* weights = weighed.weights[r];
    weighed.factors[r] = update_row(result.state + r, x[r], weights);
    if (!head.has_token_scales) continue;
    for (int g = 0; g < kTileVectors; ++g) {
      const F32 weight = F32::load(weights + g * kLanes) * F32::load(head.v_scale + g * kLanes);
      select(x[r][g] == F32(-kInfinity), F32(0.0f), weight).store(weights + g * kLanes);
    }
  }
  InfiniteValues<kRows> infinite;
  if (tile.masked) take_infinite<T, kRows>(head, x, params.head_dim, &weighed, &infinite);
  weigh_tile<T, kRows>(head, weighed, params.head_dim, result);
  add_infinite<T, kRows>(head, infinite, params.head_dim, result);
}

template <class T>
void attend_head(const AttentionParams& params, const ItemRows& rows, const KeyTile& tile,
                 int32_t kv_head, const float* q, RowStates result) {
  const HeadTile<T> head = head_tile<T>(params, tile, kv_head);
  for (int32_t row = 0; row < rows.num_rows; row += kRowsPerPass) {
    const RowStates part{result.out + row * result.out_stride, result.state + row,
                         result.out_stride};
    const float* q_part = q + row * result.out_stride;
    switch (min_of(rows.num_rows - row, kRowsPerPass)) {
      case 1:
        attend_rows<T, 1>(params, rows, head, kv_head, row, q_part, part);
        break;
      case 2:
        attend_rows<T, 2>(params, rows, head, kv_head, row, q_part, part);
        break;
      case 3:
        attend_rows<T, 3>(params, rows, head, kv_head, row, q_part, part);
        break;
      default:
        attend_rows<T, 4>(params, rows, head, kv_head, row, q_part, part);
        break;
    }
  }
}

PAGODA_HD void start_rows(const AttentionParams& params, const WorkItem& item, const ItemRows& rows,
                          float* q, RowStates result) {
  const int32_t num_rows = item.num_kv_heads * item.num_rows;
  __builtin_memset(result.out, 0, sizeof(float) * num_rows * result.out_stride);
  for (int32_t i = 0; i < num_rows; ++i) {
    result.state[i] = {};
    const int32_t kv_head = item.kv_head + i / item.num_rows;
    const int32_t row = i % item.num_rows;
    const int64_t offset =
        row_offset(params.q, rows.first_token + rows.q_idx(row), rows.q_head(kv_head, row));
    visit_dtype(params.q.dtype, [&](auto type) {
      load_row(q + i * result.out_stride,
               static_cast<const decltype(type)*>(params.q.data) + offset, params.head_dim);
    });
  }
}

template <class T>
void attend_few_rows_of(const AttentionParams& params, const WorkItem& item, KvRange kv, float* q,
                        RowStates result) {
  const ItemRows rows(params, item);
  start_rows(params, item, rows, q, result);
  const KvRange unmasked =
      without_bias(params.score, rows.rule,
                   all_visible(rows.rule, rows.q_pos(0), rows.q_pos(rows.num_rows - 1)));
  const int32_t* pages = page_ids(params.kv.block_table, item.seq);
  const int32_t ahead = kTileKeys * max_of(1, kPrefetchTiles / item.num_kv_heads);
  for (int32_t begin = kv.begin; begin < kv.end; begin = round_down(begin, kTileKeys) + kTileKeys) {
    const int32_t end = min_of(round_down(begin, kTileKeys) + kTileKeys, kv.end);
    const KeyTile tile{
        .begin = begin,
        .masked = end - begin < kTileKeys || !unmasked.contains({begin, end}),
        .keys = KeyRows(params.kv, pages, begin, end),
        .next = KeyRows(params.kv, pages, begin + ahead, min_of(end + ahead, kv.end))};
    for (int32_t h = 0; h < item.num_kv_heads; ++h) {
      const int32_t first = h * item.num_rows;
      attend_head<T>(
          params, rows, tile, item.kv_head + h, q + first * result.out_stride,
          {result.out + first * result.out_stride, result.state + first, result.out_stride});
    }
  }
}

// Scratch: q as f32, one padded row for each row of the item.
size_t few_rows_scratch_bytes(int32_t head_dim, int32_t max_item_rows) {
  return sizeof(float) * static_cast<size_t>(round_up(head_dim, kRowAlign)) *
         static_cast<size_t>(max_item_rows);
}

void attend_few_rows(const AttentionParams& params, const WorkItem& item, KvRange kv,
                     Scratch scratch, RowStates result) {
  float* q = reinterpret_cast<float*>(scratch.data);
  visit_dtype(params.kv.dtype,
              [&](auto type) { attend_few_rows_of<decltype(type)>(params, item, kv, q, result); });
}

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_ATTEND_FEW_ROWS_H_
