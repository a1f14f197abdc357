#include "cuda/step_layout.h"

#include <algorithm>

#include "plan/kv_conversion.h"

namespace pagoda::cuda {
namespace {

constexpr size_t kAlign = 256;

// Cost is keys. A share of fewer keys than this spends more on starting and joining than it saves.
constexpr int64_t kMinShare = 256;
// A piece costs its worker as much time as so many keys, measured on batches of unequal pieces.
constexpr int64_t kAttentionPieceCost = 104;
constexpr int64_t kPrefillPieceCost = 400;
// Shorter row tiles of the prefill kernel stay whole: two pieces and their join cost more.
constexpr int64_t kPrefillMinCut = 2560;
// What cutting costs there altogether: one more piece, and the joins at the end.
constexpr int64_t kPrefillCutCost = 800;

// What the plan of one kernel depends on besides lengths.
struct KernelShape {
  int32_t tile_rows;
  int32_t num_workers;
  int32_t few_rows_max;  // packed rows of sequences that count as having few
  bool few_rows;         // takes those
  bool many_rows;        // takes the others
  int64_t piece_cost;
  int64_t min_cut;
  int64_t cut_cost;
};

PlanConfig plan_config(SplitPolicy policy, int32_t fixed_split_keys, const KernelShape& kernel) {
  const bool fixed = policy == SplitPolicy::kFixed;
  PlanConfig config;
  for (RouteShape& route : config.routes) {
    route = {.tile_rows = kernel.tile_rows, .heads_per_item = 1, .rows_per_unit = kernel.tile_rows};
  }
  // One arithmetic for every row, however its sequence is cut: batch invariance.
  config.few_rows_max = fixed ? 0 : kernel.few_rows_max;
  config.num_workers = kernel.num_workers;
  // A share is never shorter than a cell.
  config.min_share = fixed ? max_of(kMinShare, fixed_split_keys + kernel.piece_cost) : kMinShare;
  config.item_cost = kernel.piece_cost;
  config.min_cut = kernel.min_cut;
  config.cut_cost = kernel.cut_cost;
  config.is_planned[static_cast<int>(Route::kFewRows)] = kernel.few_rows;
  config.is_planned[static_cast<int>(Route::kManyRows)] = kernel.many_rows;
  config.policy = policy;
  config.fixed_split_keys = fixed_split_keys;
  return config;
}

// Hands out a workspace piece by piece; from null on, it only counts.
class Places {
 public:
  explicit Places(void* base) : base_(static_cast<std::byte*>(base)) {}

  template <class T>
  void take(T** array, int64_t count) {
    if (base_ != nullptr) *array = reinterpret_cast<T*>(base_ + bytes_);
    bytes_ = round_up(bytes_ + sizeof(T) * static_cast<size_t>(count), kAlign);
  }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* base_;
  size_t bytes_ = 0;
};

void add_work(const Sizes& sizes, const KernelShape& kernel, Places* places, Works* works) {
  Work& work = works->of[works->count++];
  work.config = plan_config(sizes.policy, sizes.fixed_split_keys, kernel);
  work.tile_rows = kernel.tile_rows;
  const ShareLimits limits =
      share_limits(work.config, sizes.num_tokens, sizes.num_seqs, sizes.max_seqlen_k, sizes.group);
  work.cells_per_share = limits.cells_per_share;
  const auto take_rows = [&](Rows* rows, int64_t count) {
    places->take(&rows->out, count * sizes.kernel_head_dim);
    places->take(&rows->state, count);
  };
  const bool fixed = sizes.policy == SplitPolicy::kFixed;
  places->take(&work.queue, 1);
  places->take(&work.bounds, kernel.num_workers + 1);
  take_rows(&work.partials, limits.max_partial_rows);
  take_rows(&work.totals, fixed ? int64_t{kernel.num_workers} * kernel.tile_rows : 0);
  places->take(&work.tile_begin, sizes.num_seqs + 1);
  places->take(&work.cost_begin, limits.max_tiles + 1);
}

void add_converted(const Sizes& sizes, Places* places, ConvertedKv* converted) {
  converted->capacity = sizes.converted_tiles;
  places->take(&converted->tile_begin, sizes.num_seqs + 1);
  const int64_t rows = int64_t{sizes.converted_tiles} * kConvertedTile * sizes.num_kv_heads;
  places->take(&converted->k, rows * sizes.head_dim);
  places->take(&converted->v, rows * sizes.head_dim);
  places->take(&converted->k_scale, rows);
}

}  // namespace

Sizes sizes_of(const AttentionParams& params, int32_t max_seqlen_k, int32_t kernel_head_dim,
               int32_t converted_tiles) {
  return {.policy = params.split_policy,
          .fixed_split_keys = params.fixed_split_keys,
          .num_tokens = params.num_tokens,
          .num_seqs = params.num_seqs,
          .max_seqlen_k = max_seqlen_k,
          .group = params.group,
          .kernel_head_dim = kernel_head_dim,
          .converted_tiles = converted_tiles,
          .num_kv_heads = params.num_kv_heads,
          .head_dim = params.head_dim,
          // One kernel less to start. A lone sequence that may have many rows seldom has few.
          .prefill_alone = params.num_seqs == 1};
}

int32_t fitting_tiles(int64_t wanted, int32_t num_kv_heads, int32_t head_dim, size_t free_bytes) {
  const int64_t room = min_of(static_cast<int64_t>(free_bytes), kMaxConvertedBytes);
  return static_cast<int32_t>(min_of(wanted, room / converted_tile_bytes(num_kv_heads, head_dim)));
}

size_t lay_out(const Sizes& sizes, const AttentionKernel& attention, const PrefillKernel* prefill,
               int32_t num_sms, void* base, Works* works) {
  Places places(base);
  works->count = 0;
  const bool prefill_alone = prefill != nullptr && sizes.prefill_alone;
  if (!prefill_alone) {
    add_work(sizes,
             {.tile_rows = attention.tile_rows,
              .num_workers = num_sms * attention.ctas_per_sm,
              .few_rows_max = kFewRows,
              .few_rows = true,
              .many_rows = prefill == nullptr,
              .piece_cost = kAttentionPieceCost,
              .min_cut = 0,
              .cut_cost = 0},
             &places, works);
    works->of[0].runs_beside = prefill != nullptr;
  }
  if (prefill != nullptr) {
    add_work(sizes,
             {.tile_rows = prefill->tile_rows,
              .num_workers = num_sms,
              .few_rows_max = prefill_alone ? 0 : kFewRows,
              .few_rows = false,
              .many_rows = true,
              .piece_cost = kPrefillPieceCost,
              .min_cut = kPrefillMinCut,
              .cut_cost = kPrefillCutCost},
             &places, works);
    add_converted(sizes, &places, &works->of[works->count - 1].converted);
  }
  return places.bytes();
}

bool may_be_cut(const Works& works, int32_t max_seqlen_k) {
  return std::any_of(works.of, works.of + works.count, [&](const Work& work) {
    return max_seqlen_k + work.config.item_cost >= work.config.min_cut;
  });
}

}  // namespace pagoda::cuda
