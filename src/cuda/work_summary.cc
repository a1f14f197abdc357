#include "cuda/work_summary.h"

#include <functional>
#include <queue>
#include <vector>

#include "plan/core_split.h"
#include "plan/kv_conversion.h"

namespace pagoda::cuda {
namespace {

// The batch's line of cost in one kernel, and what is summed up beside it.
class HostLine {
 public:
  HostLine(const PlanConfig& config, const AttentionParams& params)
      : config_(config), params_(params) {
    for (int32_t seq = 0; seq < params.num_seqs; ++seq) add(sequence_shape(params, seq));
  }

  CostLine line() const {
    return {tile_begin_.data(), cost_begin_.data(), static_cast<int32_t>(tile_begin_.size()) - 1};
  }
  int64_t largest_unit() const { return largest_unit_; }
  int64_t unit_cost(int32_t tile) const {
    return (cost_begin_[static_cast<size_t>(tile) + 1] - cost_begin_[static_cast<size_t>(tile)]) /
           params_.num_kv_heads;
  }

  // Cost before a bound. A cut unit's own cost, besides its keys, lies before its first cut.
  int64_t cost_before(const ShareBound& bound) const {
    const int32_t tile = bound.unit / params_.num_kv_heads;
    if (tile >= line().num_tiles()) return line().total();
    const int64_t unit = cost_begin_[static_cast<size_t>(tile)] + bound.kv_head * unit_cost(tile);
    if (bound.first_worker < 0) return unit;
    const RowTile row_tile = placed_tile(config_, params_, tile_begin_.data(), tile).tile;
    return unit + config_.item_cost + bound.kv_split - row_tile.visible.begin;
  }

  // In numbers of sequences, tiles and units, and what they need.
  WorkSummary counts() const { return counts_; }

 private:
  void add(const SequenceShape& shape) {
    const int32_t num_tiles = num_row_tiles(config_, params_, shape);
    tile_begin_.push_back(tile_begin_.back() + num_tiles);
    if (num_tiles == 0) return;
    for (int32_t i = 0; i < num_tiles; ++i) {
      const int64_t cost = row_tile_of_heads(config_, params_, shape, i).cost;
      largest_unit_ = max_of(largest_unit_, cost);
      cost_begin_.push_back(cost_begin_.back() + cost * params_.num_kv_heads);
    }
    ++counts_.num_seqs;
    counts_.packed_rows += int64_t{shape.q_len} * params_.group;
    counts_.num_tiles += num_tiles;
    counts_.num_units += int64_t{num_tiles} * params_.num_kv_heads;
    counts_.needed += needed_work(params_, shape);
  }

  const PlanConfig& config_;
  const AttentionParams& params_;
  std::vector<int32_t> tile_begin_{0};
  std::vector<int64_t> cost_begin_{0};
  int64_t largest_unit_ = 0;
  WorkSummary counts_;
};

// Workers take units as they come free, as if one key cost all of them the same. The order is that
// of queued_unit() but for its sections of heads.
void summarise_queue(const HostLine& host, int32_t num_heads, WorkSummary* summary) {
  std::priority_queue<int64_t, std::vector<int64_t>, std::greater<>> ends;
  for (int32_t w = 0; w < summary->num_workers; ++w) ends.push(0);
  for (int32_t tile = host.line().num_tiles() - 1; tile >= 0; --tile) {
    for (int32_t head = 0; head < num_heads; ++head) {
      const int64_t end = ends.top() + host.unit_cost(tile);
      ends.pop();
      ends.push(end);
      summary->longest_cost = max_of(summary->longest_cost, end);
    }
  }
  summary->num_pieces = summary->num_units;
  summary->num_busy =
      static_cast<int32_t>(min_of(int64_t{summary->num_workers}, summary->num_units));
}

void summarise_shares(const PlanConfig& config, const AttentionParams& params, const HostLine& host,
                      WorkSummary* summary) {
  const int64_t share =
      share_length(config, host.line().total(), host.largest_unit(), summary->num_units);
  ShareBound bound = share_bound(config, params, host.line(), share, 0);
  summary->num_pieces = summary->num_units;
  for (int32_t w = 0; w < config.num_workers; ++w) {
    const ShareBound next = share_bound(config, params, host.line(), share, w + 1);
    // What is left of a unit that another worker began costs a piece of its own.
    const int64_t cost = host.cost_before(next) - host.cost_before(bound) +
                         (bound.first_worker >= 0 ? config.item_cost : 0);
    summary->num_busy += cost > 0;
    summary->longest_cost = max_of(summary->longest_cost, cost);
    if (next.first_worker == w) {  // cuts this unit first
      ++summary->num_cut_units;
      summary->num_pieces += next.num_pieces - 1;
      summary->num_partials += next.num_pieces;
      summary->most_pieces = max_of(summary->most_pieces, next.num_pieces);
    }
    bound = next;
  }
}

WorkSummary summarise(const Work& work, int32_t num_workers, const AttentionParams& params) {
  PlanConfig config = work.config;
  config.num_workers = num_workers;
  const HostLine host(config, params);
  WorkSummary summary = host.counts();
  summary.tile_rows = work.tile_rows;
  summary.num_workers = num_workers;
  summary.total_cost = host.line().total();
  summary.queued =
      whole_units_pay(config, summary.total_cost, host.largest_unit(), summary.num_units);
  if (summary.queued) {
    summarise_queue(host, params.num_kv_heads, &summary);
  } else {
    summarise_shares(config, params, host, &summary);
  }
  return summary;
}

ConversionSummary summarise(const ConvertedKv& converted, const AttentionParams& params) {
  ConversionSummary summary;
  int64_t num_tiles = 0;
  for (int32_t seq = 0; seq < params.num_seqs; ++seq) {
    const SequenceShape shape = sequence_shape(params, seq);
    const int32_t tiles_here = converted_keys(params, shape).num_tiles;
    num_tiles += tiles_here;
    if (num_tiles > converted.capacity) break;
    if (tiles_here == 0) continue;
    ++summary.num_seqs;
    summary.packed_rows += int64_t{shape.q_len} * params.group;
    summary.num_keys += int64_t{tiles_here} * kConvertedTile;
  }
  return summary;
}

BatchCost batch_cost(const PlanConfig& config, const AttentionParams& params) {
  BatchCost cost{};
  for (int32_t seq = 0; seq < params.num_seqs; ++seq) {
    cost += sequence_cost(config, params, sequence_shape(params, seq));
  }
  return cost;
}

}  // namespace

StepSummary summarise(const Works& works, const AttentionParams& on_host) {
  StepSummary step;
  step.count = works.count;
  const PlanConfig& few = works.of[0].config;
  if (works.count == 1) {
    const bool is_prefill = !few.is_planned[static_cast<int>(Route::kFewRows)];
    step.of[is_prefill ? 1 : 0] = summarise(works.of[0], few.num_workers, on_host);
    step.converted = summarise(works.of[0].converted, on_host);
    return step;
  }
  const PlanConfig& many = works.of[1].config;
  const CoreSplit split =
      split_cores(on_host, few, many, batch_cost(few, on_host), batch_cost(many, on_host));
  step.cores_divided = split.many < many.num_workers;
  step.of[0] = summarise(works.of[0], split.few, on_host);
  step.of[1] = summarise(works.of[1], split.many, on_host);
  step.converted = summarise(works.of[1].converted, on_host);
  return step;
}

}  // namespace pagoda::cuda
