// From lengths to work items, for any mixture of query and KV lengths. Pure functions of a
// configuration and one sequence's lengths, so that a device planner can call them from as many
// threads as there are row tiles; build_plan() is their serial composition.
//
// The unit of planning is the row tile: some packed rows of a sequence, for some KV heads, over
// the keys that its mask lets any of the rows see. Its cost counts those keys only, so windows and
// causal prefixes cost what they read. A row tile that costs more than a fair share of the batch
// is split over its keys, whatever its query length.
#ifndef PAGODA_PLAN_PLANNER_H_
#define PAGODA_PLAN_PLANNER_H_

#include "core/arith.h"
#include "core/attention_params.h"
#include "core/portability.h"
#include "plan/sequence_shape.h"
#include "plan/tile_shape.h"
#include "plan/work_item.h"
#include "semantics/mask.h"

namespace pagoda {

// What PlanConfig::item_cost is if nothing better is known.
constexpr int64_t kItemCost = 32;

struct PlanConfig {
  RouteShape routes[kNumRoutes];
  int32_t few_rows_max;  // sequences of up to this many packed rows take Route::kFewRows
  int32_t num_workers;   // shares that the batch is balanced over
  int64_t min_share;     // do not split below this cost
  // Fixed cost of an item, in units: what starting, reading Q and writing the output cost.
  int64_t item_cost = kItemCost;
  int64_t min_cut = 0;  // on a line of shares: units of lower cost are not cut
  // What cutting costs every worker; 0 = there is no choice but shares.
  int64_t cut_cost = 0;
  // Sequences of routes that are not planned have no tiles on a line of shares.
  bool is_planned[kNumRoutes] = {true, true};
  SplitPolicy policy;
  int32_t fixed_split_keys;  // Policy kFixed: a multiple of kSplitAlignKeys
};

PAGODA_HD Route route_of(const PlanConfig& config, int32_t packed_rows) {
  return packed_rows <= config.few_rows_max ? Route::kFewRows : Route::kManyRows;
}

PAGODA_HD bool is_planned(const PlanConfig& config, int32_t packed_rows) {
  return packed_rows > 0 && config.is_planned[static_cast<int32_t>(route_of(config, packed_rows))];
}

PAGODA_HD const RouteShape& shape_of(const PlanConfig& config, Route route) {
  return config.routes[static_cast<int32_t>(route)];
}

// How a sequence is cut into row tiles; tile t has rows from (t / num_head_blocks) * tile_rows on
// and the heads of block t % num_head_blocks, so heads that share keys in the cache are adjacent.
struct SequenceTiles {
  Route route;
  int32_t packed_rows;
  int32_t num_head_blocks;
  int32_t num_tiles;
};

PAGODA_HD SequenceTiles sequence_tiles(const PlanConfig& config, const AttentionParams& params,
                                       const SequenceShape& shape) {
  SequenceTiles tiles;
  tiles.packed_rows = shape.q_len * params.group;
  tiles.route = route_of(config, tiles.packed_rows);
  const RouteShape& route = shape_of(config, tiles.route);
  tiles.num_head_blocks = ceil_div(params.num_kv_heads, route.heads_per_item);
  tiles.num_tiles = ceil_div(tiles.packed_rows, route.tile_rows) * tiles.num_head_blocks;
  return tiles;
}

struct RowTile {
  Route route;
  int32_t row_begin;
  int32_t num_rows;
  int32_t kv_head;
  int32_t num_kv_heads;
  KvRange visible;
  int64_t cost;
};

// The keys that some of the packed rows [first_row, last_row] of a sequence may see.
PAGODA_HD KvRange rows_visible(const AttentionParams& params, const SequenceShape& shape,
                               int32_t first_row, int32_t last_row) {
  const MaskRule rule =
      mask_rule(params.mask, shape.seq, shape.first_token, shape.q_len, shape.k_len);
  return any_visible(rule, rule.context_len() + first_row / params.group,
                     rule.context_len() + last_row / params.group);
}

PAGODA_HD RowTile row_tile(const PlanConfig& config, const AttentionParams& params,
                           const SequenceShape& shape, const SequenceTiles& tiles, int32_t index) {
  const RouteShape& route = shape_of(config, tiles.route);
  RowTile tile;
  tile.route = tiles.route;
  tile.row_begin = index / tiles.num_head_blocks * route.tile_rows;
  tile.num_rows = min_of(route.tile_rows, tiles.packed_rows - tile.row_begin);
  tile.kv_head = index % tiles.num_head_blocks * route.heads_per_item;
  tile.num_kv_heads = min_of(route.heads_per_item, params.num_kv_heads - tile.kv_head);
  tile.visible = rows_visible(params, shape, tile.row_begin, tile.row_begin + tile.num_rows - 1);
  tile.cost = config.item_cost + int64_t{tile.visible.size()} * tile.num_kv_heads *
                                     ceil_div(tile.num_rows, route.rows_per_unit);
  return tile;
}

// The fair share of a batch whose row tiles cost `total`.
PAGODA_HD int64_t fair_share(const PlanConfig& config, int64_t total) {
  return max_of(config.min_share, ceil_div(total, int64_t{config.num_workers}));
}

// The keys of a row tile in cells, counted from the one that holds its first visible key: 64 keys,
// or one fixed split, which then has partial results of its own. Keys are split between cells only.
struct TileCells {
  int32_t cell_keys;
  int32_t first_cell;
  int32_t num_cells;

  PAGODA_HD int32_t key_of(int32_t cell) const { return (first_cell + cell) * cell_keys; }
};

PAGODA_HD TileCells tile_cells(SplitPolicy policy, int32_t fixed_split_keys, KvRange visible) {
  TileCells cells;
  cells.cell_keys = policy == SplitPolicy::kFixed ? fixed_split_keys : kSplitAlignKeys;
  cells.first_cell = visible.begin / cells.cell_keys;
  cells.num_cells = max_of(1, ceil_div(visible.end, cells.cell_keys) - cells.first_cell);
  return cells;
}

// How a row tile is split into items of whole cells; every partial result covers one item
// (balanced) or one cell (fixed).
struct TileSplit {
  TileCells cells;
  int32_t num_items;
  int32_t num_partials;  // 0: not split

  PAGODA_HD int32_t cell_begin(int32_t item) const {
    return static_cast<int32_t>(int64_t{cells.num_cells} * item / num_items);
  }
};

PAGODA_HD TileSplit split_tile(const PlanConfig& config, const RowTile& tile, int64_t share) {
  TileSplit split;
  split.cells = tile_cells(config.policy, config.fixed_split_keys, tile.visible);
  const int32_t num_cells = split.cells.num_cells;
  const int64_t item_cost = max_of(share, shape_of(config, tile.route).min_item_cost);
  const int64_t wanted = tile.cost <= item_cost ? 1 : ceil_div(tile.cost, item_cost);
  split.num_items = static_cast<int32_t>(min_of(wanted, int64_t{num_cells}));
  const bool fixed = config.policy == SplitPolicy::kFixed;
  split.num_partials = split.num_items == 1 ? 0 : fixed ? num_cells : split.num_items;
  return split;
}

// Item `index` of a row tile; group and partial_row are where its tile's partials begin, -1 and 0
// if it is not split.
PAGODA_HD WorkItem work_item(const PlanConfig& config, const RowTile& tile, const TileSplit& split,
                             int32_t seq, int32_t index, int32_t merge_group, int32_t partial_row) {
  const int32_t cell_begin = split.cell_begin(index);
  const int32_t cell_end = split.cell_begin(index + 1);
  WorkItem item;
  item.route = tile.route;
  item.seq = seq;
  item.kv_head = tile.kv_head;
  item.num_kv_heads = tile.num_kv_heads;
  item.row_begin = tile.row_begin;
  item.num_rows = tile.num_rows;
  const TileCells& cells = split.cells;
  item.kv_begin = max_of(tile.visible.begin, cells.key_of(cell_begin));
  // 64 bits: the last cell may end past the largest length.
  item.kv_end = static_cast<int32_t>(
      min_of(int64_t{tile.visible.end}, (int64_t{cells.first_cell} + cell_end) * cells.cell_keys));
  item.merge_group = merge_group;
  const int32_t first_partial = config.policy == SplitPolicy::kFixed ? cell_begin : index;
  item.partial_row =
      merge_group < 0 ? -1 : partial_row + first_partial * tile.num_kv_heads * tile.num_rows;
  item.cost = tile.cost / split.num_items;
  return item;
}

// Upper bounds of a plan for any batch within limits.
struct PlanBounds {
  int64_t max_items;
  int64_t max_groups;
  int64_t max_partial_rows;
};

PAGODA_HD PlanBounds plan_bounds(const PlanConfig& config, int64_t max_num_tokens,
                                 int64_t max_num_seqs, int64_t max_seqlen_k, int32_t num_kv_heads,
                                 int32_t group) {
  int64_t max_tiles = 0;
  int64_t max_tile_rows = 0;
  for (const RouteShape& route : config.routes) {
    const int64_t row_tiles =
        max_num_tokens * group / route.tile_rows + min_of(max_num_seqs, max_num_tokens);
    max_tiles = max_of(max_tiles, row_tiles * ceil_div(num_kv_heads, route.heads_per_item));
    max_tile_rows = max_of(max_tile_rows,
                           int64_t{min_of(route.heads_per_item, num_kv_heads)} * route.tile_rows);
  }
  // A tile is split only if it costs more than a share, so at most num_workers tiles are, into at
  // most 2 * num_workers items altogether; a fixed split keeps one partial per cell instead.
  const int64_t workers = config.num_workers;
  const int64_t max_partials =
      config.policy == SplitPolicy::kFixed
          ? workers * (ceil_div(max_seqlen_k, int64_t{config.fixed_split_keys}) + 1)
          : 2 * workers;
  return {max_tiles + workers, min_of(workers, max_tiles), max_partials * max_tile_rows};
}

struct PlanLists {
  WorkItem* items;
  MergeGroup* groups;
  int32_t num_items;
  int32_t num_groups;
  int32_t num_partial_rows;
  int64_t total_cost;
};

// Appends the items of one row tile.
PAGODA_HD void append_tile(const PlanConfig& config, const RowTile& tile, int32_t seq,
                           int64_t share, PlanLists* lists) {
  const TileSplit split = split_tile(config, tile, share);
  int32_t group = -1;
  const int32_t partial_row = lists->num_partial_rows;
  if (split.num_partials > 0) {
    group = lists->num_groups++;
    lists->groups[group] = {seq,           tile.kv_head, tile.num_kv_heads,  tile.row_begin,
                            tile.num_rows, partial_row,  split.num_partials, split.num_items};
    lists->num_partial_rows += split.num_partials * tile.num_kv_heads * tile.num_rows;
  }
  for (int32_t i = 0; i < split.num_items; ++i) {
    lists->items[lists->num_items++] = work_item(config, tile, split, seq, i, group, partial_row);
  }
}

// Plans a whole batch, one sequence after the other. Fills the arrays that `lists` points to.
PAGODA_HD void build_plan(const PlanConfig& config, const AttentionParams& params,
                          PlanLists* lists) {
  lists->num_items = lists->num_groups = lists->num_partial_rows = 0;
  lists->total_cost = 0;
  for (int32_t seq = 0; seq < params.num_seqs; ++seq) {
    const SequenceShape shape = sequence_shape(params, seq);
    const SequenceTiles tiles = sequence_tiles(config, params, shape);
    for (int32_t t = 0; t < tiles.num_tiles; ++t) {
      lists->total_cost += row_tile(config, params, shape, tiles, t).cost;
    }
  }
  const int64_t share = fair_share(config, lists->total_cost);
  for (int32_t seq = 0; seq < params.num_seqs; ++seq) {
    const SequenceShape shape = sequence_shape(params, seq);
    const SequenceTiles tiles = sequence_tiles(config, params, shape);
    for (int32_t t = 0; t < tiles.num_tiles; ++t) {
      append_tile(config, row_tile(config, params, shape, tiles, t), seq, share, lists);
    }
  }
}

}  // namespace pagoda

#endif  // PAGODA_PLAN_PLANNER_H_
