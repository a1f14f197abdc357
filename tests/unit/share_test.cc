// Shares cover the line of every batch once, in order, in equal stretches, and their cut units'
// pieces are numbered as the kernels expect.
#include "plan/share.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <set>
#include <vector>

namespace pagoda {
namespace {

struct Batch {
  std::vector<int32_t> cu_seqlens_q{0};
  std::vector<int32_t> seqused_k;
  AttentionParams params{};
  PlanConfig config{};
  std::vector<int32_t> tile_begin{0};
  std::vector<int64_t> cost_begin{0};
  int64_t largest_unit = 0;
  int64_t share = 0;

  Batch(std::mt19937* random, SplitPolicy policy) {
    const auto pick = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(*random);
    };
    const int num_seqs = pick(0, 40);
    const int longest_k = 1 << pick(0, 15);
    for (int i = 0; i < num_seqs; ++i) {
      const int q_len = pick(0, 3) == 0 ? pick(0, 300) : pick(0, 2);
      cu_seqlens_q.push_back(cu_seqlens_q.back() + q_len);
      seqused_k.push_back(pick(0, q_len + longest_k));
    }
    params.cu_seqlens_q = cu_seqlens_q.data();
    params.seqused_k = seqused_k.data();
    params.num_tokens = cu_seqlens_q.back();
    params.num_seqs = num_seqs;
    params.num_kv_heads = pick(1, 8);
    params.group = pick(1, 9);
    params.mask.causal = pick(0, 3) > 0;
    params.mask.window_left = pick(0, 2) == 0 ? pick(0, 3000) : -1;
    params.mask.window_right = params.mask.prefix_window_left = -1;
    const bool fixed = policy == SplitPolicy::kFixed;
    config = {.routes = {{64, 1, 64}, {64, 1, 64}},
              .few_rows_max = 64,
              .num_workers = pick(1, 264),
              .min_share = fixed ? 512 + kItemCost : 256,
              .min_cut = pick(0, 2) == 0 ? pick(0, 5000) : 0,
              .policy = policy,
              .fixed_split_keys = 512};
    for (int32_t seq = 0; seq < num_seqs; ++seq) {
      const SequenceShape shape = sequence_shape(params, seq);
      const int32_t num_tiles = num_row_tiles(config, params, shape);
      tile_begin.push_back(tile_begin.back() + num_tiles);
      for (int32_t t = 0; t < num_tiles; ++t) {
        const int64_t cost = row_tile_of_heads(config, params, shape, t).cost;
        cost_begin.push_back(cost_begin.back() + cost * params.num_kv_heads);
        largest_unit = std::max(largest_unit, cost);
      }
    }
    share = share_length(config, line().total(), largest_unit);
  }

  CostLine line() const { return {tile_begin.data(), cost_begin.data(), params.num_seqs}; }
  ShareBound bound(int32_t index) const {
    return share_bound(config, params, line(), share, index);
  }
};

// A place on the line that bounds can be compared by.
std::pair<int32_t, int32_t> place_of(const ShareBound& bound) {
  return {bound.unit, bound.first_worker < 0 ? -1 : bound.kv_split};
}

class Shares : public ::testing::TestWithParam<SplitPolicy> {};
INSTANTIATE_TEST_SUITE_P(Policies, Shares,
                         ::testing::Values(SplitPolicy::kBalanced, SplitPolicy::kFixed));

TEST_P(Shares, CoverTheLineInOrder) {
  std::mt19937 random(5);
  for (int i = 0; i < 300; ++i) {
    const Batch batch(&random, GetParam());
    EXPECT_EQ(place_of(batch.bound(0)), std::make_pair(0, -1));
    const int32_t num_units = batch.line().num_tiles() * batch.params.num_kv_heads;
    EXPECT_EQ(batch.bound(batch.config.num_workers).unit, num_units);
    for (int32_t w = 0; w < batch.config.num_workers; ++w) {
      const auto here = place_of(batch.bound(w));
      const auto next = place_of(batch.bound(w + 1));
      // Empty shares are only at the end, unless units must stay whole.
      EXPECT_TRUE(here < next || here.first == num_units ||
                  (here == next && batch.config.min_cut > 0))
          << i << " " << w;
    }
  }
}

TEST_P(Shares, CutsLieBetweenCellsInsideTheVisibleKeys) {
  std::mt19937 random(6);
  int cuts = 0;
  for (int i = 0; i < 300; ++i) {
    const Batch batch(&random, GetParam());
    for (int32_t w = 0; w <= batch.config.num_workers; ++w) {
      const ShareBound bound = batch.bound(w);
      if (bound.first_worker < 0) continue;
      ++cuts;
      const int32_t tile = bound.unit / batch.params.num_kv_heads;
      const PlacedTile placed =
          placed_tile(batch.config, batch.params, batch.tile_begin.data(), tile);
      EXPECT_EQ(bound.shape.seq, placed.shape.seq);
      EXPECT_EQ(bound.row_begin, placed.tile.row_begin);
      EXPECT_EQ(bound.kv_head, bound.unit % batch.params.num_kv_heads);
      EXPECT_GT(bound.kv_split, placed.tile.visible.begin);
      EXPECT_LT(bound.kv_split, placed.tile.visible.end);
      EXPECT_EQ(bound.kv_split % (GetParam() == SplitPolicy::kFixed ? 512 : 64), 0);
    }
  }
  EXPECT_GT(cuts, 1000);
}

TEST_P(Shares, PiecesOfACutUnitAreCountedFromItsFirstWorker) {
  std::mt19937 random(7);
  for (int i = 0; i < 300; ++i) {
    const Batch batch(&random, GetParam());
    for (int32_t w = 0; w <= batch.config.num_workers;) {
      const ShareBound first = batch.bound(w);
      if (first.first_worker < 0) {
        ++w;
        continue;
      }
      EXPECT_EQ(first.first_worker, w - 1);
      int32_t pieces = 1;
      for (; w <= batch.config.num_workers && batch.bound(w).unit == first.unit; ++w, ++pieces) {
        EXPECT_EQ(batch.bound(w).first_worker, first.first_worker);
        EXPECT_EQ(batch.bound(w).num_pieces, first.num_pieces);
      }
      EXPECT_EQ(pieces, first.num_pieces);
    }
  }
}

// Bounds are moved by half a cell at most, or by half of a unit that must stay whole.
TEST_P(Shares, AreEqual) {
  std::mt19937 random(8);
  for (int i = 0; i < 300; ++i) {
    const Batch batch(&random, GetParam());
    for (int32_t w = 0; w <= batch.config.num_workers; ++w) {
      const ShareBound bound = batch.bound(w);
      const int64_t wanted = std::min(w * batch.share, batch.line().total());
      const int32_t tile = bound.unit / batch.params.num_kv_heads;
      int64_t place = batch.line().total();
      int64_t cell_cost = 0;
      if (tile < batch.line().num_tiles()) {
        const PlacedTile placed =
            placed_tile(batch.config, batch.params, batch.tile_begin.data(), tile);
        const TileCells cells =
            tile_cells(batch.config.policy, batch.config.fixed_split_keys, placed.tile.visible);
        cell_cost = placed.tile.cost / cells.num_cells;
        place = batch.cost_begin[static_cast<size_t>(tile)] + bound.kv_head * placed.tile.cost;
        if (bound.first_worker >= 0) {
          place += placed.tile.cost * (bound.kv_split / cells.cell_keys - cells.first_cell) /
                   cells.num_cells;
        }
      }
      // The unit before a bound at a unit's beginning has cells of another cost.
      cell_cost = std::max<int64_t>(cell_cost, 512 + 64 + kItemCost);
      const int64_t grain = std::max(cell_cost, batch.config.min_cut);
      EXPECT_LE(std::abs(place - wanted), grain / 2 + 1) << i << " " << w;
    }
  }
}

TEST(PartialPlaces, NoTwoPiecesShareOne) {
  std::mt19937 random(9);
  for (int i = 0; i < 300; ++i) {
    const Batch batch(&random, SplitPolicy::kBalanced);
    const ShareLimits limits = share_limits(batch.config, batch.params.num_tokens,
                                            batch.params.num_seqs, 1 << 20, batch.params.group);
    std::set<int64_t> taken;
    for (int32_t w = 0; w <= batch.config.num_workers; ++w) {
      const ShareBound bound = batch.bound(w);
      if (bound.first_worker != w - 1) continue;  // not a cut unit's first bound
      const PartialPlaces places{bound.first_worker, 64, limits.cells_per_share};
      for (int32_t piece = 0; piece < bound.num_pieces; ++piece) {
        EXPECT_TRUE(taken.insert(places.row(piece)).second);
        EXPECT_LE(places.row(piece) + 64, limits.max_partial_rows);
      }
    }
  }
}

TEST(WorkersBeside, LeaveMemoryHalfOfTheCoresWhenTimesAreTwoToOne) {
  EXPECT_EQ(workers_beside(132, 1000, 0), 132);
  EXPECT_EQ(workers_beside(132, 0, 1000), 132);
  EXPECT_EQ(workers_beside(132, 1000, 2000), 66);
  EXPECT_EQ(workers_beside(132, 1000, 1000), 88);
  EXPECT_EQ(workers_beside(132, 1000, 4000), 33);
  EXPECT_EQ(workers_beside(132, 1, 1 << 30), 1);
}

}  // namespace
}  // namespace pagoda
