// The batch as one line of cost, cut into shares of equal length. On the line lie all row tiles of
// all sequences, each once per KV head, and a share is whatever lies between two bounds: the end of
// one tile's keys, some whole tiles, the beginning of another's. So a plan is no list of items but
// one bound per share, all workers have the same to do, at most two pieces of a share are partial,
// and their number is known beforehand. Pure functions: a device planner finds every bound by
// itself.
#ifndef PAGODA_PLAN_SHARE_H_
#define PAGODA_PLAN_SHARE_H_

#include "plan/planner.h"

namespace pagoda {

// Prefix sums over the batch, from which any place on the line is found.
struct CostLine {
  const int32_t* tile_begin;  // [num_seqs + 1]: row tiles before each sequence
  const int64_t* cost_begin;  // [num_tiles + 1]: cost before each row tile, all its heads counted
  int32_t num_seqs;

  PAGODA_HD int32_t num_tiles() const { return tile_begin[num_seqs]; }
  PAGODA_HD int64_t total() const { return cost_begin[num_tiles()]; }
};

// Of `count` ascending values the last index whose value is <= x; values[0] <= x.
template <class T>
PAGODA_HD int32_t last_not_above(const T* values, int32_t count, T x) {
  int32_t low = 0;
  int32_t high = count;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    if (values[middle] <= x) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// Row tile `index` of a sequence, for its first head: all heads see the same keys.
PAGODA_HD RowTile row_tile_of_heads(const PlanConfig& config, const AttentionParams& params,
                                    const SequenceShape& shape, int32_t index) {
  const SequenceTiles tiles = sequence_tiles(config, params, shape);
  return row_tile(config, params, shape, tiles, index * tiles.num_head_blocks);
}

PAGODA_HD int32_t num_row_tiles(const PlanConfig& config, const AttentionParams& params,
                                const SequenceShape& shape) {
  const SequenceTiles tiles = sequence_tiles(config, params, shape);
  return is_planned(config, tiles.packed_rows) ? tiles.num_tiles / tiles.num_head_blocks : 0;
}

// Row tile `tile` of the batch.
struct PlacedTile {
  SequenceShape shape;
  RowTile tile;
};

PAGODA_HD PlacedTile placed_tile(const PlanConfig& config, const AttentionParams& params,
                                 const int32_t* tile_begin, int32_t tile) {
  const int32_t seq = last_not_above(tile_begin, params.num_seqs, tile);
  const SequenceShape shape = sequence_shape(params, seq);
  return {shape, row_tile_of_heads(config, params, shape, tile - tile_begin[seq])};
}

// floor(x / y) for 0 <= x < 2^53, y > 0; exact, since a quotient below k is at least k's spacing
// away from it. A GPU divides doubles several times as fast as 64-bit integers.
PAGODA_HD int64_t floor_ratio(int64_t x, int64_t y) {
  return static_cast<int64_t>(static_cast<double>(x) / static_cast<double>(y));
}

// A share that begins in the middle of one unit and ends in the middle of the next has two
// beginnings and two ends. Units of many pieces are cut evenly instead: little is lost by rounding.
constexpr int64_t kManyPieces = 8;

// Shares are this many parts of a key long, so that bounds do not drift against units, bound by
// bound.
constexpr int64_t kShareParts = 256;

// The place on the line of the bound before share `index`.
PAGODA_HD int64_t share_place(int64_t share, int32_t index) {
  return index * share / kShareParts;
}

// How long shares are, in parts, so that num_workers of them cover the line; `largest_unit` is the
// cost of its costliest (row tile, head).
PAGODA_HD int64_t share_length(const PlanConfig& config, int64_t total, int64_t largest_unit,
                               int64_t num_units) {
  const int64_t share = fair_share(config, total);
  if (total == num_units * largest_unit && num_units <= 2 * config.num_workers) {
    // All alike: one or two whole ones, if nearly all workers have as many. The others' part of the
    // memory's rate goes to these, and nothing is to be joined.
    const int64_t whole = ceil_div(num_units, int64_t{config.num_workers}) * largest_unit;
    if (whole >= share && whole - share <= share / 16) return whole * kShareParts;
  }
  const int64_t pieces = largest_unit / share;
  return pieces < kManyPieces ? share * kShareParts : ceil_div(largest_unit * kShareParts, pieces);
}

// Do workers that take whole units from a queue, the last of every sequence first, end sooner than
// with shares? There is nothing to join then; and units alike are at the same keys at the same
// time, so that L2 has them, which is worth more than a sixteenth of the time.
PAGODA_HD bool whole_units_pay(const PlanConfig& config, int64_t total, int64_t largest_unit,
                               int64_t num_units) {
  if (config.cut_cost == 0 || num_units == 0 || config.policy == SplitPolicy::kFixed) return false;
  const int64_t fair = ceil_div(total, int64_t{config.num_workers});
  // Units alike fill rounds; otherwise the small ones, which come last, fill the gaps: up to half
  // of one of the last round.
  const bool alike = 4 * total >= 3 * num_units * largest_unit;
  const int64_t last_round = largest_unit * config.num_workers / num_units;
  const int64_t queue = alike ? ceil_div(num_units, int64_t{config.num_workers}) * largest_unit
                              : max_of(largest_unit, fair + last_round / 2);
  return queue <= fair + (alike ? fair / 16 : 0) + config.cut_cost;
}

// The last bound that does not lie behind a place.
PAGODA_HD int32_t last_bound_at(int64_t share, int64_t place) {
  return static_cast<int32_t>(floor_ratio((place + 1) * kShareParts - 1, share));
}

// Where one share ends and the next begins.
struct ShareBound {
  SequenceShape shape;
  int32_t row_begin;
  int32_t kv_head;
  int32_t unit;          // number on the line, or in the queue, of this (row tile, head)
  int32_t kv_split;      // first key to the right; 0 if the unit is not cut
  int32_t first_worker;  // of the cut unit's pieces; -1: the bound lies before the unit
  int32_t num_pieces;    // of the cut unit
};

// Behind the last unit.
PAGODA_HD ShareBound end_bound(int32_t num_units) {
  ShareBound bound{};
  bound.unit = num_units;
  bound.first_worker = -1;
  return bound;
}

// One (row tile, head) on the line, and where bounds cut it.
struct LineUnit {
  int64_t begin;
  int64_t cost;
  int32_t num_cells;
  bool is_whole;  // not to be cut

  // The cell boundary nearest to a place on the line.
  PAGODA_HD int32_t cell_at(int64_t place) const {
    if (is_whole) return 2 * (place - begin) < cost ? 0 : num_cells;
    return static_cast<int32_t>(floor_ratio(2 * (place - begin) * num_cells + cost, 2 * cost));
  }
};

// The bound before share `index`, 0 ... num_workers; share = share_length(...).
PAGODA_HD ShareBound share_bound(const PlanConfig& config, const AttentionParams& params,
                                 const CostLine& line, int64_t share, int32_t index) {
  const int32_t num_heads = params.num_kv_heads;
  const int64_t place = share_place(share, index);
  ShareBound bound = end_bound(line.num_tiles() * num_heads);
  if (place >= line.total()) return bound;

  const int32_t tile = last_not_above(line.cost_begin, line.num_tiles(), place);
  PlacedTile placed = placed_tile(config, params, line.tile_begin, tile);
  const TileCells cells = tile_cells(config.policy, config.fixed_split_keys, placed.tile.visible);
  LineUnit unit{line.cost_begin[tile], placed.tile.cost, cells.num_cells,
                placed.tile.cost < config.min_cut};
  bound.kv_head = static_cast<int32_t>(floor_ratio(place - unit.begin, unit.cost));
  unit.begin += bound.kv_head * unit.cost;
  bound.unit = tile * num_heads + bound.kv_head;
  const int32_t cell = unit.cell_at(place);
  if (cell == cells.num_cells) {  // nearer to the next unit's beginning
    ++bound.unit;
    if (++bound.kv_head == num_heads) {
      bound.kv_head = 0;
      if (tile + 1 == line.num_tiles()) return bound;
      placed = placed_tile(config, params, line.tile_begin, tile + 1);
    }
  } else if (cell > 0) {
    // Shares are longer than a cell, so only the outermost bounds can meet the unit's ends.
    int32_t first = last_bound_at(share, unit.begin) + 1;
    int32_t last = last_bound_at(share, unit.begin + unit.cost - 1);
    if (unit.cell_at(share_place(share, first)) == 0) ++first;
    if (unit.cell_at(share_place(share, last)) == cells.num_cells) --last;
    bound.kv_split = cells.key_of(cell);
    bound.first_worker = first - 1;
    bound.num_pieces = last - first + 2;
  }
  bound.shape = placed.shape;
  bound.row_begin = placed.tile.row_begin;
  return bound;
}

// Upper bounds of a plan by shares for any batch within limits.
struct ShareLimits {
  int64_t max_tiles;         // row tiles
  int64_t max_partial_rows;  // see PartialPlaces
  int32_t cells_per_share;   // likewise
};

PAGODA_HD ShareLimits share_limits(const PlanConfig& config, int64_t max_num_tokens,
                                   int64_t max_num_seqs, int64_t max_seqlen_k, int32_t group) {
  ShareLimits limits{};
  int64_t max_rows = 0;
  for (const RouteShape& route : config.routes) {
    limits.max_tiles = max_of(limits.max_tiles, max_num_tokens * group / route.tile_rows +
                                                    min_of(max_num_seqs, max_num_tokens));
    max_rows = max_of(max_rows, int64_t{route.tile_rows});
  }
  if (config.policy == SplitPolicy::kFixed) {
    limits.cells_per_share =
        static_cast<int32_t>(ceil_div(max_seqlen_k, int64_t{config.fixed_split_keys})) + 1;
  }
  limits.max_partial_rows =
      int64_t{config.num_workers} * max_of(limits.cells_per_share, 2) * max_rows;
  return limits;
}

// Where the partial results of a cut unit lie: blocks of tile_rows rows, numbered in key order from
// 0 (piece after piece, or cell after cell under a fixed split).
struct PartialPlaces {
  int32_t first_worker;
  int32_t tile_rows;
  int32_t cells_per_share;  // 0: a block per piece

  PAGODA_HD int64_t row(int32_t block) const {
    // A share's first piece may be the last of one unit and its last piece the first of the next:
    // the former has odd places.
    const int64_t place = cells_per_share > 0
                              ? int64_t{first_worker} * cells_per_share + block
                              : 2 * (int64_t{first_worker} + block) + (block > 0 ? 1 : 0);
    return place * tile_rows;
  }
};

}  // namespace pagoda

#endif  // PAGODA_PLAN_SHARE_H_
