// Decode and short verification: at most kFewRowsMax rows per KV head. head_dim lies in the vector
// lanes; K and V are read where they are, a tile of keys at a time, for all heads of the item
// before the next tile, which is the order of an NHD cache in memory.
#ifndef PAGODA_CPU_ATTEND_FEW_ROWS_H_
#define PAGODA_CPU_ATTEND_FEW_ROWS_H_

#include "core/paged_kv.h"
#include "cpu/few_rows_bf16.h"
#include "cpu/few_rows_f32.h"
#include "cpu/few_rows_int8.h"
#include "cpu/few_rows_softmax.h"
#include "cpu/few_rows_tile.h"
#include "cpu/kernels.h"
#include "plan/item_rows.h"
#include "semantics/quant.h"

namespace pagoda::cpu {
namespace {

// Tiles of one head between the one being computed and the one being prefetched into L2. With
// several heads the other heads' tiles lie between, so the next tile of the same is far enough.
constexpr int kPrefetchTiles = 4;

// The tiles from the one being computed to the one being prefetched.
template <int kTileKeys>
struct UpcomingTiles {
  KeyRows<kTileKeys> tiles[kPrefetchTiles + 1];
  int size;
  int first = 0;

  explicit UpcomingTiles(int num_tiles) : size(num_tiles) {}
  PAGODA_HD KeyRows<kTileKeys>& operator[](int i) { return tiles[(first + i) % size]; }
};

// For each row of the item: packed q, padded; then all of RunningRows.
size_t few_rows_scratch_bytes(int32_t head_dim, int32_t max_item_rows) {
  const size_t q_bytes = sizeof(float) * static_cast<size_t>(round_up(head_dim, kRowAlign));
  return (q_bytes + 2 * sizeof(float)) * static_cast<size_t>(max_item_rows);
}

template <class T>
PAGODA_HD const T* head_rows(const PagesParams& pages, int32_t kv_head) {
  return static_cast<const T*>(pages.data) + kv_head * pages.head_stride;
}

#if PAGODA_HAS_BF16_DOT && PAGODA_HAS_BYTE_DOT
template <class T>
using ProductArithmetic =
    std::conditional_t<std::is_same_v<T, int8_t>, Int8Arithmetic, Bf16Arithmetic<T>>;
#elif PAGODA_HAS_BF16_DOT
template <class T>
using ProductArithmetic = Bf16Arithmetic<T>;
#endif

template <class T>
class FewRows {
 public:
  FewRows(const AttentionParams& params, const WorkItem& item, Scratch scratch, RowStates result)
      : params_(params),
        item_(item),
        rows_(params, item),
        num_rows_(item.num_kv_heads * item.num_rows),
        result_(result),
        packed_q_(scratch.data),
        running_{packed_q<float>(num_rows_), packed_q<float>(num_rows_) + num_rows_} {}

  template <class Arithmetic>
  void run(KvRange kv) {
    start_rows<typename Arithmetic::Query>();
    const KvRange unmasked =
        without_bias(params_.score, rows_.rule,
                     all_visible(rows_.rule, rows_.q_pos(0), rows_.q_pos(rows_.num_rows - 1)));
    const int32_t* pages = page_ids(params_.kv.block_table, item_.seq);
    const KvRange gap = hidden_gap(rows_.rule, rows_.q_pos(0));
    constexpr int32_t kTileKeys = Arithmetic::kTileKeys;
    int32_t next = kv.begin;
    const auto next_rows = [&] {
      const int32_t begin = past_gap(gap, next, kTileKeys);
      next = min_of(round_down(begin, kTileKeys) + kTileKeys, kv.end);
      return KeyRows<kTileKeys>(params_.kv, pages, {begin, next});
    };
    UpcomingTiles<kTileKeys> upcoming(1 + max_of(1, kPrefetchTiles / item_.num_kv_heads));
    for (int i = 0; i < upcoming.size; ++i) upcoming[i] = next_rows();
    for (; upcoming[0].num_keys > 0; upcoming.first = (upcoming.first + 1) % upcoming.size) {
      KeyRows<kTileKeys>& rows = upcoming[0];
      const KvRange keys{rows.begin, rows.begin + rows.num_keys};
      RowFetcher<kTileKeys> fetcher(params_.kv, upcoming[upcoming.size - 1], item_,
                                    params_.head_dim, sizeof(T));
      const KeyTile<kTileKeys> tile{.keys = rows,
                                    .following = upcoming[1],
                                    .masked = keys.size() < kTileKeys || !unmasked.contains(keys),
                                    .fetcher = &fetcher};
      for (int32_t h = 0; h < item_.num_kv_heads; ++h) attend_head<Arithmetic>(tile, h);
      rows = next_rows();
    }
    store_states();
  }

 private:
  template <class Query>
  PAGODA_HD Query* packed_q(int32_t row) const {
    return reinterpret_cast<Query*>(packed_q_) + row * result_.out_stride;
  }

  template <class Query>
  PAGODA_HD void start_rows() {
    __builtin_memset(result_.out, 0, sizeof(float) * num_rows_ * result_.out_stride);
    for (int32_t i = 0; i < num_rows_; ++i) {
      running_.max[i] = -kInfinity;
      running_.sum[i] = 0.0f;
      const int32_t row = i % item_.num_rows;
      const int64_t offset = row_offset(params_.q, rows_.first_token + rows_.q_idx(row),
                                        rows_.q_head(item_.kv_head + i / item_.num_rows, row));
      visit_dtype(params_.q.dtype, [&](auto type) {
        const auto* q = static_cast<const decltype(type)*>(params_.q.data) + offset;
        load_row(packed_q<Query>(i), q, params_.head_dim);
      });
    }
  }

  PAGODA_HD void store_states() {
    for (int32_t i = 0; i < num_rows_; ++i) {
      const RoundedState rounded = rounded_state(running_.max[i], running_.sum[i], kLog2e);
      result_.state[i] = rounded.state;
      if (rounded.factor == 1.0f) continue;
      float* out = result_.out + i * result_.out_stride;
      for (int32_t d = 0; d < params_.head_dim; ++d) out[d] *= rounded.factor;
    }
  }

  template <int kTileKeys>
  PAGODA_HD HeadTile<T, kTileKeys> head_tile(const KeyTile<kTileKeys>& tile,
                                             int32_t kv_head) const {
    const PagedKvParams& kv = params_.kv;
    HeadTile<T, kTileKeys> head{.tile = tile,
                                .k = head_rows<T>(kv.k, kv_head),
                                .v = head_rows<T>(kv.v, kv_head),
                                .has_token_scales = has_token_scales(kv),
                                .k_scale = {},
                                .v_scale = {}};
    for (int i = 0; head.has_token_scales && i < kTileKeys; ++i) {
      head.k_scale[i] = tile.keys.k_scale[i][kv_head * kv.k_token_scale.head_stride];
      head.v_scale[i] = tile.keys.v_scale[i][kv_head * kv.v_token_scale.head_stride];
    }
    return head;
  }

  template <class Arithmetic>
  void attend_head(const KeyTile<Arithmetic::kTileKeys>& tile, int32_t index) {
    const bool is_last = index + 1 == item_.num_kv_heads;
    tile.fetcher->start_head(params_.kv, is_last ? tile.following : tile.keys,
                             item_.kv_head + (is_last ? 0 : index + 1));
    const HeadTile<T, Arithmetic::kTileKeys> head = head_tile(tile, item_.kv_head + index);
    // Passes of nearly the same size: 4 and 3 rows keep the arithmetic busier than 6 and 1.
    const int32_t num_passes = ceil_div(item_.num_rows, Arithmetic::kRowsPerPass);
    const int32_t rows_per_pass = ceil_div(item_.num_rows, num_passes);
    for (int32_t row = 0; row < item_.num_rows; row += rows_per_pass) {
      const int32_t num_rows = min_of(item_.num_rows - row, rows_per_pass);
      with_constant<Arithmetic::kRowsPerPass>(
          num_rows, [&](auto constant) { attend_rows<Arithmetic, constant>(head, index, row); });
    }
  }

  // Calls visit with `value`, 1 to kMost, as a constant.
  template <int kMost, class Visitor>
  PAGODA_HD static void with_constant(int32_t value, Visitor&& visit) {
    if constexpr (kMost > 1) {
      if (value < kMost) return with_constant<kMost - 1>(value, visit);
    }
    visit(std::integral_constant<int, kMost>());
  }

  // kRows rows of one head over one tile.
  template <class Arithmetic, int kRows>
  [[gnu::noinline]] void attend_rows(const HeadTile<T, Arithmetic::kTileKeys>& head,
                                     int32_t head_index, int32_t row) {
    constexpr int kTileKeys = Arithmetic::kTileKeys;
    const KeyTile<kTileKeys>& tile = head.tile;
    const int32_t kv_head = item_.kv_head + head_index;
    const int32_t first = head_index * item_.num_rows + row;
    const RowStates part{result_.out + first * result_.out_stride, result_.state + first,
                         result_.out_stride};
    F32 x[kRows][kTileKeys / kLanes];
    Arithmetic::template dot_tile<kRows>(head, packed_q<typename Arithmetic::Query>(first),
                                         part.out_stride, params_.head_dim, x);
    Weighed<kRows, kTileKeys> weighed;
    weighed.num_keys = tile.keys.num_keys;
    __builtin_memcpy(weighed.v_offset, tile.keys.v_offset, sizeof(weighed.v_offset));
    const float scale = logit_scale(params_, rows_.seq, kv_head);
    for (int r = 0; r < kRows; ++r) {
      row_logits(params_, rows_, tile, kv_head, row + r, scale,
                 head.has_token_scales ? head.k_scale : nullptr, x[r]);
    }
    update_rows<kRows>({running_.max + first, running_.sum + first}, x, weighed.weights,
                       weighed.factors);
    for (int r = 0; r < kRows && head.has_token_scales; ++r) {
      scale_weights(x[r], head.v_scale, weighed.weights[r]);
    }
    InfiniteValues<kRows, kTileKeys> infinite;
    if (tile.masked) take_infinite(head, x, params_.head_dim, &weighed, &infinite);
    Arithmetic::template weigh_tile<kRows>(head, weighed, params_.head_dim, part);
    add_infinite(head, infinite, params_.head_dim, part);
  }

  const AttentionParams& params_;
  const WorkItem& item_;
  const ItemRows rows_;
  const int32_t num_rows_;  // of all heads
  const RowStates result_;
  std::byte* packed_q_;        // [num_rows_, out_stride]
  const RunningRows running_;  // [num_rows_]
};

void attend_few_rows(const AttentionParams& params, const WorkItem& item, KvRange kv,
                     Scratch scratch, RowStates result) {
  visit_dtype(params.kv.dtype, [&](auto type) {
    using T = decltype(type);
    FewRows<T> work(params, item, scratch, result);
#if PAGODA_HAS_BF16_DOT
    if constexpr (kHeldByBf16<T>) {
      if (held_by_bf16(params.q.dtype)) return work.template run<ProductArithmetic<T>>(kv);
    }
#endif
    work.template run<F32Arithmetic<T>>(kv);
  });
}

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_ATTEND_FEW_ROWS_H_
