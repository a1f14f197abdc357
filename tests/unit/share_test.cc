// Shares cover the line of every batch once, in order, in equal stretches, and their cut units'
// pieces are numbered as the kernels expect.
#include "plan/share.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <set>

#include "random_plan.h"

namespace pagoda {
namespace {

using testing::HostLine;
using testing::RandomBatch;

int pick(std::mt19937* random, int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(*random);
}

PlanConfig random_config(std::mt19937* random, SplitPolicy policy) {
  const bool fixed = policy == SplitPolicy::kFixed;
  return {.routes = {{64, 1, 64}, {64, 1, 64}},
          .few_rows_max = 64,
          .num_workers = pick(random, 1, 264),
          .min_share = fixed ? 512 + kItemCost : 256,
          .min_cut = pick(random, 0, 2) == 0 ? pick(random, 0, 5000) : 0,
          .policy = policy,
          .fixed_split_keys = 512};
}

struct Planned {
  RandomBatch batch;
  const AttentionParams& params;
  PlanConfig config;
  HostLine host;

  Planned(std::mt19937* random, SplitPolicy policy)
      : batch(random, {.num_seqs = pick(random, 0, 40),
                       .longest_q = 300,
                       .longest_k = 1 << pick(random, 0, 15)}),
        params(batch.params),
        config(random_config(random, policy)),
        host(config, params) {}

  CostLine line() const { return host.line(); }
  ShareBound bound(int32_t index) const {
    return share_bound(config, params, line(), host.share, index);
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
    const Planned batch(&random, GetParam());
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
    const Planned batch(&random, GetParam());
    for (int32_t w = 0; w <= batch.config.num_workers; ++w) {
      const ShareBound bound = batch.bound(w);
      if (bound.first_worker < 0) continue;
      ++cuts;
      const int32_t tile = bound.unit / batch.params.num_kv_heads;
      const PlacedTile placed =
          placed_tile(batch.config, batch.params, batch.host.tile_begin.data(), tile);
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
    const Planned batch(&random, GetParam());
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
    const Planned batch(&random, GetParam());
    for (int32_t w = 0; w <= batch.config.num_workers; ++w) {
      const ShareBound bound = batch.bound(w);
      const int64_t wanted = std::min(share_place(batch.host.share, w), batch.line().total());
      const int32_t tile = bound.unit / batch.params.num_kv_heads;
      int64_t place = batch.line().total();
      int64_t cell_cost = 0;
      if (tile < batch.line().num_tiles()) {
        const PlacedTile placed =
            placed_tile(batch.config, batch.params, batch.host.tile_begin.data(), tile);
        const TileCells cells =
            tile_cells(batch.config.policy, batch.config.fixed_split_keys, placed.tile.visible);
        cell_cost = placed.tile.cost / cells.num_cells;
        place = batch.host.cost_begin[static_cast<size_t>(tile)] + bound.kv_head * placed.tile.cost;
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
    const Planned batch(&random, SplitPolicy::kBalanced);
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

// Whole units of a causal prefill of 8192 tokens: 8 heads, 32 tokens' rows each, 400 for a piece.
TEST(WholeUnits, PayWhereTheLastRoundEndsEvenly) {
  PlanConfig config{};
  config.num_workers = 132;
  config.cut_cost = 800;
  config.policy = SplitPolicy::kBalanced;
  int64_t total = 0;
  for (int64_t tokens = 32; tokens <= 8192; tokens += 32) total += 8 * (tokens + 400);
  EXPECT_TRUE(whole_units_pay(config, total, 8192 + 400, 8 * 256));
  // One unit longer than a share.
  EXPECT_FALSE(whole_units_pay(config, total, total / 132 + 1000, 8 * 256));
  // Units alike, in one full round and in one that hardly is begun.
  EXPECT_TRUE(whole_units_pay(config, 132 * 5000, 5000, 132));
  EXPECT_FALSE(whole_units_pay(config, 133 * 5000, 5000, 133));
  // 2048 tokens of 32768, 8 heads: the last of four rounds is nearly full, and K and V of all heads
  // are more than L2 holds.
  EXPECT_TRUE(whole_units_pay(config, 512 * 32000, 32000, 512));
}

// One sequence of 8192 keys, 8 heads: 33 pieces of each would be a share too many, and a share is
// no whole number of keys.
TEST(ShareLength, EndsManySharesWithTheirUnits) {
  const int64_t unit = 8192 + 100;
  PlanConfig config{};
  config.num_workers = 264;
  config.min_share = 256;
  const int64_t share = share_length(config, 8 * unit, unit, 8);
  for (int32_t head = 0; head <= 8; ++head) {
    EXPECT_EQ(share_place(share, 32 * head), head * unit);
    EXPECT_EQ(last_bound_at(share, head * unit), 32 * head);
    if (head > 0) {
      EXPECT_EQ(last_bound_at(share, head * unit - 1), 32 * head - 1);
    }
  }
}

// 32 sequences of one tile each, 8 heads, all alike.
TEST(ShareLength, IsWholeUnitsWhereTheyAreAlikeAndFillTheirRound) {
  PlanConfig config{};
  config.num_workers = 264;
  config.min_share = 256;
  const auto keys = [](int64_t share) { return share / kShareParts; };
  EXPECT_EQ(keys(share_length(config, 256 * 8000, 8000, 256)), 8000);
  EXPECT_EQ(keys(share_length(config, 512 * 8000, 8000, 512)), 16000);
  // Half of the workers would have nothing; a third round, where cutting costs little.
  EXPECT_LT(keys(share_length(config, 128 * 8000, 8000, 128)), 8000);
  EXPECT_LT(keys(share_length(config, 768 * 8000, 8000, 768)), 24000);
  // One is shorter.
  EXPECT_LT(keys(share_length(config, 256 * 8000 - 64, 8000, 256)), 8000);
}

}  // namespace
}  // namespace pagoda
