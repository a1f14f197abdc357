// The sums that explain() makes of a plan, against a walk along every share. Needs no GPU.
#include "cuda/work_summary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "cuda/planned_batch.h"
#include "random_plan.h"

namespace pagoda::cuda {
namespace {

using testing::HostLine;
using testing::is_prefill;
using testing::LengthBatch;
using testing::RandomBatch;
using testing::summary_of;

// Every worker's pieces, one after the other, as the kernels meet them.
struct WalkedShares {
  std::map<int32_t, int32_t> pieces_of_unit;
  int64_t num_keys = 0;
  int64_t longest_cost = 0;
  int32_t num_busy = 0;

  WalkedShares(const PlanConfig& config, const AttentionParams& params) {
    const HostLine host(config, params);
    const auto bound = [&](int32_t w) {
      return share_bound(config, params, host.line(), host.share, w);
    };
    for (int32_t w = 0; w < config.num_workers; ++w) {
      const ShareBound begin = bound(w);
      const ShareBound end = bound(w + 1);
      int64_t cost = 0;
      for (int32_t unit = begin.unit; unit < end.unit || (unit == end.unit && end.kv_split > 0);
           ++unit) {
        KvRange kv = placed_tile(config, params, host.tile_begin.data(), unit / params.num_kv_heads)
                         .tile.visible;
        if (unit == begin.unit && begin.kv_split > 0) kv.begin = begin.kv_split;
        if (unit == end.unit) kv.end = end.kv_split;
        ++pieces_of_unit[unit];
        num_keys += kv.size();
        cost += config.item_cost + kv.size();
      }
      num_busy += cost > 0;
      longest_cost = std::max(longest_cost, cost);
    }
  }
};

void expect_summary(const WorkSummary& summary, const WalkedShares& walked) {
  int64_t num_pieces = 0;
  int64_t num_cut_units = 0;
  int64_t num_partials = 0;
  int32_t most_pieces = 1;
  for (const auto& [unit, pieces] : walked.pieces_of_unit) {
    num_pieces += pieces;
    if (pieces == 1) continue;
    ++num_cut_units;
    num_partials += pieces;
    most_pieces = std::max(most_pieces, pieces);
  }
  EXPECT_EQ(summary.num_units, static_cast<int64_t>(walked.pieces_of_unit.size()));
  EXPECT_EQ(summary.num_pieces, num_pieces);
  EXPECT_EQ(summary.num_cut_units, num_cut_units);
  EXPECT_EQ(summary.num_partials, num_partials);
  EXPECT_EQ(summary.most_pieces, most_pieces);
  EXPECT_EQ(summary.num_busy, walked.num_busy);
  EXPECT_EQ(summary.longest_cost, walked.longest_cost);
}

TEST(WorkSummary, IsWhatWorkersMeetAlongTheirShares) {
  std::mt19937 random(21);
  int64_t num_cut_units = 0;
  for (int i = 0; i < 300; ++i) {
    RandomBatch batch(&random, {.num_seqs = i % 40, .longest_q = 300, .longest_k = 1 << i % 16});
    batch.params.split_policy = i % 3 == 0 ? SplitPolicy::kFixed : SplitPolicy::kBalanced;
    batch.params.fixed_split_keys = 512;
    batch.params.max_seqlen_k = 1 << 17;
    batch.params.head_dim = 128;
    const Works works = testing::works_of(batch.params, i % 3 == 1);
    const StepSummary step = summarise(works, batch.params);
    ASSERT_EQ(step.count, works.count);
    for (int32_t w = 0; w < works.count; ++w) {
      SCOPED_TRACE(::testing::Message() << "batch " << i << ", kernel " << w);
      const WorkSummary& summary = step.of[is_prefill(works.of[w]) ? 1 : 0];
      if (summary.queued) continue;
      PlanConfig config = works.of[w].config;
      config.num_workers = summary.num_workers;
      const WalkedShares walked(config, batch.params);
      expect_summary(summary, walked);
      EXPECT_EQ(summary.total_cost, walked.num_keys + config.item_cost * summary.num_units);
      num_cut_units += summary.num_cut_units;
    }
  }
  EXPECT_GT(num_cut_units, 1000);
}

TEST(WorkSummary, CountsTheWholeBatchOnce) {
  std::mt19937 random(22);
  for (int i = 0; i < 100; ++i) {
    RandomBatch batch(&random, {.num_seqs = 30, .longest_q = 300, .longest_k = 3000});
    batch.params.head_dim = 64;
    const StepSummary step = summarise(testing::works_of(batch.params, true), batch.params);
    int32_t num_seqs = 0;
    for (int32_t seq = 0; seq < batch.params.num_seqs; ++seq) {
      num_seqs += sequence_shape(batch.params, seq).q_len > 0;
    }
    const NeededWork needed = needed_work(batch.params);
    EXPECT_EQ(step.of[0].num_seqs + step.of[1].num_seqs, num_seqs);
    EXPECT_EQ(step.of[0].packed_rows + step.of[1].packed_rows,
              int64_t{batch.params.num_tokens} * batch.params.group);
    EXPECT_EQ(step.of[0].needed.kv_bytes + step.of[1].needed.kv_bytes, needed.kv_bytes);
    EXPECT_EQ(step.of[0].needed.flops + step.of[1].needed.flops, needed.flops);
  }
}

// 64 row tiles of 32 tokens for each of 8 heads: the last one costs 2048 keys and 400 more.
TEST(WorkSummary, PrefillTakesWholeUnitsFromAQueue) {
  const LengthBatch batch({{1, 2048, 2048}});
  const StepSummary step = summary_of(batch);
  ASSERT_EQ(step.count, 1);  // a lone sequence has no kernel for few rows
  EXPECT_EQ(step.of[0].num_units, 0);
  EXPECT_EQ(step.of[0].num_busy, 0);
  const WorkSummary& prefill = step.of[1];
  EXPECT_TRUE(prefill.queued);
  EXPECT_EQ(prefill.num_tiles, 64);
  EXPECT_EQ(prefill.num_units, 512);
  EXPECT_EQ(prefill.num_pieces, 512);
  EXPECT_EQ(prefill.num_partials, 0);
  EXPECT_EQ(prefill.num_busy, 132);
  EXPECT_EQ(prefill.total_cost, 8 * (32 * 64 * 65 / 2 + 64 * 400));
  // No worker is behind by more than one unit of those that come last.
  EXPECT_GE(prefill.longest_cost, prefill.total_cost / 132);
  EXPECT_LE(prefill.longest_cost, prefill.total_cost / 132 + 2048 + 400);
}

TEST(WorkSummary, FewerUnitsThanWorkersTakeOneEach) {
  const LengthBatch batch({{1, 512, 512}});
  const WorkSummary prefill = summary_of(batch).of[1];
  EXPECT_TRUE(prefill.queued);
  EXPECT_EQ(prefill.num_units, 128);
  EXPECT_EQ(prefill.num_busy, 128);
  EXPECT_EQ(prefill.longest_cost, 512 + 400);
}

// Then no kernel is started that would join partial results.
TEST(MayBeCut, WhereNothingMayBeNothingIs) {
  for (const int32_t k_len : {128, 500, 1500, 2048, 2159}) {
    for (const int32_t num_q_heads : {4, 32, 64}) {
      for (int32_t q_len = 100; q_len <= k_len; q_len += 100) {
        SCOPED_TRACE(::testing::Message() << num_q_heads << " heads, " << q_len << " of " << k_len);
        LengthBatch batch({{1, q_len, k_len}});
        batch.set_heads(num_q_heads, num_q_heads / 4, 128);
        EXPECT_FALSE(may_be_cut(testing::works_of(batch.params, true), k_len));
        EXPECT_EQ(summary_of(batch).of[1].num_cut_units, 0);
      }
    }
  }
  const LengthBatch longer({{1, 512, 4096}});
  EXPECT_TRUE(may_be_cut(testing::works_of(longer.params, true), 4096));
  const LengthBatch decode({{1, 1, 512}});
  EXPECT_TRUE(may_be_cut(testing::works_of(decode.params, false), 512));
  const LengthBatch mixed({{1, 1, 512}, {1, 512, 512}});
  EXPECT_TRUE(may_be_cut(testing::works_of(mixed.params, true), 512));
}

TEST(WorkSummary, KernelsDivideTheCoresWhereDecodeIsMostOfTheWork) {
  const LengthBatch mixed({{63, 1, 4096}, {1, 1985, 1985}});
  const StepSummary step = summary_of(mixed);
  EXPECT_TRUE(step.cores_divided);
  EXPECT_EQ(step.of[0].num_workers, 2 * (132 - step.of[1].num_workers));
  EXPECT_LT(step.of[1].num_workers, 66);

  const LengthBatch decode({{64, 1, 4096}, {1, 17, 17}});
  EXPECT_EQ(summary_of(decode).of[1].num_workers, 1);
  const LengthBatch mostly_prefill({{8, 1, 4096}, {1, 4096, 4096}});
  const StepSummary in_turn = summary_of(mostly_prefill);
  EXPECT_FALSE(in_turn.cores_divided);
  EXPECT_EQ(in_turn.of[0].num_workers, 264);
  EXPECT_EQ(in_turn.of[1].num_workers, 132);
}

TEST(WorkSummary, ABatchWithoutQueriesIsEmpty) {
  const LengthBatch batch({{3, 0, 70}});
  const StepSummary step = summary_of(batch);
  ASSERT_EQ(step.count, 1);
  EXPECT_EQ(step.of[0].num_units, 0);
  EXPECT_EQ(step.of[0].num_pieces, 0);
  EXPECT_EQ(step.of[0].longest_cost, 0);
}

}  // namespace
}  // namespace pagoda::cuda
