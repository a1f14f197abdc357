// How two kernels of a step divide the cores.
#include "plan/core_split.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace pagoda {
namespace {

TEST(WorkersBeside, LeaveMemoryHalfOfTheCoresWhenTimesAreTwoToOne) {
  EXPECT_EQ(workers_beside(132, 1000, 0), 132);
  EXPECT_EQ(workers_beside(132, 0, 1000), 132);
  EXPECT_EQ(workers_beside(132, 1000, 2000), 66);
  EXPECT_EQ(workers_beside(132, 1000, 1000), 88);
  EXPECT_EQ(workers_beside(132, 1000, 4000), 33);
  EXPECT_EQ(workers_beside(132, 1, 1 << 30), 1);
}

TEST(WorkersInRounds, AreNoMoreThanTheRoundsNeed) {
  EXPECT_EQ(workers_in_rounds(70, 128), 64);
  EXPECT_EQ(workers_in_rounds(64, 128), 64);
  EXPECT_EQ(workers_in_rounds(63, 128), 43);
  EXPECT_EQ(workers_in_rounds(132, 128), 132);
  EXPECT_EQ(workers_in_rounds(45, 504), 45);  // 12 rounds
  EXPECT_EQ(workers_in_rounds(33, 0), 33);
}

// Two workers a core for few rows, one for many.
CoreSplit split_of(int64_t few_cost, int64_t many_cost, int64_t many_units = 0,
                   bool token_scales = false) {
  float scale = 1.0f;
  AttentionParams params{};
  if (token_scales) params.kv.k_token_scale.data = &scale;
  PlanConfig few{};
  few.num_workers = 264;
  PlanConfig many{};
  many.num_workers = 132;
  return split_cores(params, few, many, {few_cost, 1000}, {many_cost, many_units});
}

void expect_split(const CoreSplit& split, int32_t few, int32_t many) {
  EXPECT_EQ(split.few, few);
  EXPECT_EQ(split.many, many);
}

TEST(CoreSplit, KernelsShareTheCoresWhereMemoryHasMostOfTheWork) {
  expect_split(split_of(4000, 1000), 198, 33);
  expect_split(split_of(2000, 1000), 132, 66);
  expect_split(split_of(1000, 1000), 88, 88);
  expect_split(split_of(667, 1000), 66, 99);
  expect_split(split_of(1800, 1000, 128), 136, 64);
  expect_split(split_of(2000, 1000, 0, true), 132, 66);
  // One core stays for prefill, however little it has to do, but none where it has nothing to do.
  expect_split(split_of(1 << 30, 1), 262, 1);
  expect_split(split_of(1000, 0), 264, 132);
}

TEST(CoreSplit, ElseEachHasAllOfThemInTurn) {
  expect_split(split_of(665, 1000), 264, 132);
  expect_split(split_of(1999, 1000, 0, true), 264, 132);
  expect_split(split_of(0, 1000), 264, 132);
  expect_split(split_of(0, 0), 264, 132);
}

// Queries 0 ... 199 of 1000 keys with two heads each: 400 packed rows, tiles of 128.
TEST(SequenceCost, IsTheMeanOfFirstAndLastTileTimesTheirNumber) {
  const int32_t cu_seqlens_q[] = {0, 200};
  const int32_t seqused_k[] = {1000};
  AttentionParams params{};
  params.cu_seqlens_q = cu_seqlens_q;
  params.seqused_k = seqused_k;
  params.num_kv_heads = 3;
  params.group = 2;
  params.mask.causal = true;
  params.mask.window_left = params.mask.window_right = params.mask.prefix_window_left = -1;
  PlanConfig config{.routes = {{128, 1, 128}, {128, 1, 128}},
                    .few_rows_max = 64,
                    .num_workers = 132,
                    .min_share = 256,
                    .item_cost = 400,
                    .policy = SplitPolicy::kBalanced,
                    .fixed_split_keys = 0};
  const SequenceShape shape = sequence_shape(params, 0);
  // Tiles see up to 64, 128, 192 and 200 tokens behind the 800 keys of the context.
  EXPECT_EQ(sequence_cost(config, params, shape).cost, (864 + 400 + 1000 + 400) * 4 / 2 * 3);
  EXPECT_EQ(sequence_cost(config, params, shape).num_units, 4 * 3);
  config.is_planned[static_cast<int>(Route::kManyRows)] = false;
  EXPECT_EQ(sequence_cost(config, params, shape).cost, 0);
}

}  // namespace
}  // namespace pagoda
