// The order of a queue of whole units.
#include "plan/unit_queue.h"

#include <gtest/gtest.h>

#include <set>
#include <utility>
#include <vector>

namespace pagoda::testing {
namespace {

struct Unit {
  int32_t seq;
  int32_t tile;
  int32_t kv_head;
};

constexpr int32_t kTileRows = 128;

// All units in the order of the queue, of sequences of so many tiles and keys.
std::vector<Unit> queue_of(const AttentionParams& params, const std::vector<int32_t>& tiles,
                           const std::vector<int32_t>& k_lens) {
  std::vector<int32_t> tile_begin{0};
  for (int32_t count : tiles) tile_begin.push_back(tile_begin.back() + count);
  const int32_t num_units = tile_begin.back() * params.num_kv_heads;
  std::vector<Unit> units;
  for (int32_t index = 0; index < num_units; ++index) {
    const int32_t seq = last_not_above(tile_begin.data(), static_cast<int32_t>(tiles.size()),
                                       queued_tile(params, num_units, index));
    const auto s = static_cast<size_t>(seq);
    const SequenceShape shape{.seq = seq, .first_token = 0, .q_len = 0, .k_len = k_lens[s]};
    const ShareBound bound =
        queued_unit(params, shape, tile_begin[s], tile_begin[s + 1], kTileRows, num_units, index);
    EXPECT_EQ(bound.unit, index);
    EXPECT_LT(bound.first_worker, 0);
    EXPECT_EQ(bound.row_begin % kTileRows, 0);
    units.push_back({bound.shape.seq, bound.row_begin / kTileRows, bound.kv_head});
  }
  return units;
}

AttentionParams heads(int32_t num_kv_heads) {
  AttentionParams params{};
  params.num_kv_heads = num_kv_heads;
  params.head_dim = 128;
  params.kv.dtype = DType::kBFloat16;
  return params;
}

TEST(UnitQueue, HasEveryUnitOnce) {
  for (int32_t num_heads : {1, 3, 8}) {
    for (int32_t k_len : {100, 8192, 100000, 1 << 20}) {
      std::set<std::pair<int32_t, std::pair<int32_t, int32_t>>> seen;
      const std::vector<int32_t> tiles{3, 0, 7, 1};
      for (const Unit& unit : queue_of(heads(num_heads), tiles, {k_len, 50, 3 * k_len, 1})) {
        EXPECT_LT(unit.tile, tiles[static_cast<size_t>(unit.seq)]);
        EXPECT_LT(unit.kv_head, num_heads);
        EXPECT_TRUE(seen.insert({unit.seq, {unit.tile, unit.kv_head}}).second);
      }
      EXPECT_EQ(seen.size(), static_cast<size_t>(11 * num_heads));
    }
  }
}

// K and V of 32768 keys are 16 MiB a head, so one head at a time; of 64 keys, all heads.
TEST(UnitQueue, TakesTheLastTilesFirstOfTheHeadsThatL2Holds) {
  const std::vector<Unit> apart = queue_of(heads(2), {3}, {32768});
  const std::vector<Unit> together = queue_of(heads(2), {3}, {64});
  for (int32_t i = 0; i < 6; ++i) {
    EXPECT_EQ(apart[static_cast<size_t>(i)].kv_head, i / 3);
    EXPECT_EQ(apart[static_cast<size_t>(i)].tile, 2 - i % 3);
    EXPECT_EQ(together[static_cast<size_t>(i)].kv_head, i % 2);
    EXPECT_EQ(together[static_cast<size_t>(i)].tile, 2 - i / 2);
  }
}

}  // namespace
}  // namespace pagoda::testing
