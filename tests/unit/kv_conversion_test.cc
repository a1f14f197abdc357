// Which keys are converted, and how much room there is made for them.
#include "plan/kv_conversion.h"

#include <gtest/gtest.h>

namespace pagoda::testing {
namespace {

AttentionParams causal_params(int32_t group) {
  AttentionParams params{};
  params.group = group;
  params.num_kv_heads = 8;
  params.head_dim = 128;
  params.mask.causal = true;
  params.mask.window_left = params.mask.window_right = params.mask.prefix_window_left = -1;
  return params;
}

TEST(ConvertedKeys, AreThoseOfSequencesOfManyRows) {
  const AttentionParams params = causal_params(4);
  const int32_t enough = kMinConvertedRows / 4;
  const auto num_tiles = [&](int32_t q_len, int32_t k_len) {
    return converted_keys(params, {.seq = 0, .first_token = 0, .q_len = q_len, .k_len = k_len})
        .num_tiles;
  };
  EXPECT_EQ(num_tiles(enough, 8192), 64);
  EXPECT_EQ(num_tiles(enough, 8193), 65);
  EXPECT_EQ(num_tiles(enough - 1, 8192), 0);
  EXPECT_EQ(num_tiles(enough, 0), 0);
}

TEST(ConvertedKeys, LeaveOutWhatAWindowHides) {
  AttentionParams params = causal_params(4);
  params.mask.window_left = 1000;
  const int32_t q_len = kMinConvertedRows / 4;
  const ConvertedKeys keys =
      converted_keys(params, {.seq = 0, .first_token = 0, .q_len = q_len, .k_len = 8192});
  const int32_t first_visible = 8192 - q_len - 1000;
  EXPECT_LE(keys.first, first_visible);
  EXPECT_GT(keys.first, first_visible - kConvertedTile);
  EXPECT_EQ(keys.first % kConvertedTile, 0);
  EXPECT_GE(keys.first + keys.num_tiles * kConvertedTile, 8192);
  EXPECT_LT(keys.first + (keys.num_tiles - 1) * kConvertedTile, 8192);
}

TEST(WantedConvertedTiles, HoldWhatStepsMayHave) {
  // Steps of decode have no such sequence, and one of just enough rows is not worth a kernel.
  EXPECT_EQ(wanted_converted_tiles(64, 64, 32768, 4), 0);
  EXPECT_EQ(wanted_converted_tiles(kMinConvertedRows / 4, 1, 8192, 4), 0);
  // One prompt, or prompts as long as the step.
  EXPECT_GE(wanted_converted_tiles(8192, 1, 8192, 4) * kConvertedTile, 8192);
  EXPECT_GE(wanted_converted_tiles(16384, 4, 4096, 4) * kConvertedTile, 4 * 4096);
  // The longest context and other prompts beside it, but not every sequence at its longest.
  const int64_t tiles = wanted_converted_tiles(8192, 256, 131072, 4);
  EXPECT_GE(tiles * kConvertedTile, 131072 + 8192);
  EXPECT_LE(tiles * kConvertedTile, 131072 + 3 * 8192);
}

TEST(ConvertedTileBytes, AreThoseOfKAndVOf16BitsAndOfScalesOfK) {
  EXPECT_EQ(converted_tile_bytes(8, 128), kConvertedTile * 8 * (2 * 128 * 2 + 4));
}

}  // namespace
}  // namespace pagoda::testing
