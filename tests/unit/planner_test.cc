// The planner's promises: every visible (row, head, key) is covered exactly once, nothing exceeds
// the bounds, costs follow visible keys, and fixed splits lie on an absolute grid.
#include "plan/planner.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <tuple>
#include <vector>

namespace pagoda {
namespace {

PlanConfig small_config(SplitPolicy policy = SplitPolicy::kBalanced) {
  return {.routes = {{.tile_rows = 15, .heads_per_item = 2, .rows_per_unit = 4},
                     {.tile_rows = 32, .heads_per_item = 1, .rows_per_unit = 8}},
          .few_rows_max = policy == SplitPolicy::kFixed ? 0 : 15,
          .num_workers = 8,
          .min_share = 256,
          .policy = policy,
          .fixed_split_keys = 128};
}

// A batch with its arrays; copies would point to the original's.
struct Batch {
  std::vector<int32_t> cu_seqlens_q{0};
  std::vector<int32_t> seqused_k;
  AttentionParams params{};
  int32_t longest = 0;

  Batch(const std::vector<std::pair<int32_t, int32_t>>& seqs, int32_t num_q_heads,
        int32_t num_kv_heads) {
    for (const auto& [q_len, k_len] : seqs) {
      cu_seqlens_q.push_back(cu_seqlens_q.back() + q_len);
      seqused_k.push_back(k_len);
      longest = std::max(longest, k_len);
    }
    params.cu_seqlens_q = cu_seqlens_q.data();
    params.seqused_k = seqused_k.data();
    params.num_tokens = cu_seqlens_q.back();
    params.num_seqs = static_cast<int32_t>(seqs.size());
    params.num_q_heads = num_q_heads;
    params.num_kv_heads = num_kv_heads;
    params.group = num_q_heads / num_kv_heads;
    params.mask.causal = true;
    params.mask.window_left = params.mask.window_right = params.mask.prefix_window_left = -1;
  }
  Batch(const Batch&) = delete;
};

struct Planned {
  std::vector<WorkItem> items;
  std::vector<MergeGroup> groups;
  PlanLists lists{};
};

Planned plan_of(const PlanConfig& config, const Batch& batch) {
  const PlanBounds bounds =
      plan_bounds(config, batch.params.num_tokens, batch.params.num_seqs, batch.longest,
                  batch.params.num_kv_heads, batch.params.group);
  Planned planned;
  planned.items.resize(static_cast<size_t>(bounds.max_items) + 1000);
  planned.groups.resize(static_cast<size_t>(bounds.max_groups) + 1000);
  planned.lists.items = planned.items.data();
  planned.lists.groups = planned.groups.data();
  build_plan(config, batch.params, &planned.lists);
  EXPECT_LE(planned.lists.num_items, bounds.max_items);
  EXPECT_LE(planned.lists.num_groups, bounds.max_groups);
  EXPECT_LE(planned.lists.num_partial_rows, bounds.max_partial_rows);
  planned.items.resize(static_cast<size_t>(planned.lists.num_items));
  planned.groups.resize(static_cast<size_t>(planned.lists.num_groups));
  return planned;
}

void expect_covers_once(const Planned& planned, const Batch& batch) {
  // (sequence, kv head, packed row) -> key -> times
  std::map<std::tuple<int32_t, int32_t, int32_t>, std::vector<int>> covered;
  for (const WorkItem& item : planned.items) {
    for (int32_t h = item.kv_head; h < item.kv_head + item.num_kv_heads; ++h) {
      for (int32_t row = item.row_begin; row < item.row_begin + item.num_rows; ++row) {
        auto& keys = covered[{item.seq, h, row}];
        keys.resize(static_cast<size_t>(batch.seqused_k[static_cast<size_t>(item.seq)]));
        for (int32_t t = item.kv_begin; t < item.kv_end; ++t) ++keys[static_cast<size_t>(t)];
      }
    }
  }
  for (int32_t seq = 0; seq < batch.params.num_seqs; ++seq) {
    const SequenceShape shape = sequence_shape(batch.params, seq);
    const MaskRule rule =
        mask_rule(batch.params.mask, seq, shape.first_token, shape.q_len, shape.k_len);
    for (int32_t h = 0; h < batch.params.num_kv_heads; ++h) {
      for (int32_t row = 0; row < shape.q_len * batch.params.group; ++row) {
        ASSERT_TRUE(covered.contains({seq, h, row})) << "every row has an item";
        const std::vector<int>& keys = covered[{seq, h, row}];
        for (int32_t t = 0; t < shape.k_len; ++t) {
          const int times = keys[static_cast<size_t>(t)];
          ASSERT_LE(times, 1) << "seq " << seq << " row " << row << " key " << t;
          if (is_visible(rule, rule.context_len() + row / batch.params.group, t)) {
            ASSERT_EQ(times, 1) << "seq " << seq << " row " << row << " key " << t;
          }
        }
      }
    }
  }
}

// Partial rows are written exactly once, and each group knows its items.
void expect_partials_fit(const PlanConfig& config, const Planned& planned) {
  std::vector<int> written(static_cast<size_t>(planned.lists.num_partial_rows));
  std::vector<int> arrivals(planned.groups.size());
  for (const WorkItem& item : planned.items) {
    if (item.merge_group < 0) continue;
    ++arrivals[static_cast<size_t>(item.merge_group)];
    int32_t splits = 1;
    if (config.policy == SplitPolicy::kFixed) {
      splits =
          (item.kv_end - 1) / config.fixed_split_keys - item.kv_begin / config.fixed_split_keys + 1;
    }
    for (int32_t i = 0; i < splits * item.num_kv_heads * item.num_rows; ++i) {
      ++written[static_cast<size_t>(item.partial_row + i)];
    }
  }
  for (int times : written) EXPECT_EQ(times, 1);
  for (size_t g = 0; g < planned.groups.size(); ++g) {
    EXPECT_EQ(arrivals[g], planned.groups[g].num_items);
  }
}

TEST(Planner, EmptySequencesGetNoWork) {
  const Batch batch({{0, 100}, {0, 0}}, 4, 2);
  EXPECT_EQ(plan_of(small_config(), batch).items.size(), 0u);
}

TEST(Planner, RowsWithoutKeysStillGetAnItem) {
  const Batch batch({{3, 0}, {1, 0}}, 4, 2);
  expect_covers_once(plan_of(small_config(), batch), batch);
}

TEST(Planner, RandomBatchesAreCoveredOnceWithinBounds) {
  std::mt19937 random(3);
  auto pick = [&](int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random);
  };
  for (int trial = 0; trial < 60; ++trial) {
    std::vector<std::pair<int32_t, int32_t>> seqs;
    for (int32_t i = pick(1, 6); i > 0; --i) {
      const int32_t q_len = pick(0, 3) == 0 ? pick(0, 90) : pick(0, 3);
      seqs.emplace_back(q_len, pick(0, 2) == 0 ? pick(0, 900) : q_len + pick(0, 60));
    }
    const int32_t num_kv_heads = pick(1, 3);
    Batch batch(seqs, num_kv_heads * pick(1, 5), num_kv_heads);
    batch.params.mask.window_left = pick(0, 1) == 0 ? -1 : pick(0, 200);
    for (SplitPolicy policy : {SplitPolicy::kBalanced, SplitPolicy::kFixed}) {
      const PlanConfig config = small_config(policy);
      const Planned planned = plan_of(config, batch);
      expect_covers_once(planned, batch);
      expect_partials_fit(config, planned);
      if (HasFailure()) FAIL() << "trial " << trial;
    }
  }
}

TEST(Planner, ALongDecodeIsSharedByAllWorkers) {
  const PlanConfig config = small_config();
  const Batch batch({{1, 8192}}, 8, 2);
  const Planned planned = plan_of(config, batch);
  EXPECT_GE(planned.items.size(), static_cast<size_t>(config.num_workers));
  int64_t longest = 0;
  for (const WorkItem& item : planned.items) longest = std::max(longest, item.cost);
  EXPECT_LE(longest, fair_share(config, planned.lists.total_cost));
}

TEST(Planner, AFewHeadChunkOverLongContextIsSplitOverKeys) {
  const Batch batch({{16, 8192}}, 2, 1);
  EXPECT_GE(plan_of(small_config(), batch).items.size(), 8u);
}

TEST(Planner, AWindowCostsWhatItReads) {
  Batch batch({{1, 32768}}, 4, 2);
  batch.params.mask.window_left = 1023;
  const Planned planned = plan_of(small_config(), batch);
  EXPECT_EQ(planned.lists.total_cost, kItemCost + 1024 * 2);
  for (const WorkItem& item : planned.items) EXPECT_GE(item.kv_begin, 32768 - 1024);
}

TEST(Planner, FixedSplitsLieOnOneGridWhateverTheBatch) {
  const PlanConfig config = small_config(SplitPolicy::kFixed);
  const Batch alone({{1, 2000}}, 4, 2);
  const Batch together({{1, 2000}, {40, 3000}, {1, 500}}, 4, 2);
  for (const Batch* batch : {&alone, &together}) {
    for (const WorkItem& item : plan_of(config, *batch).items) {
      EXPECT_EQ(item.kv_begin % config.fixed_split_keys, 0);
      const int32_t k_len = batch->seqused_k[static_cast<size_t>(item.seq)];
      if (item.kv_end < k_len - 40) {
        EXPECT_EQ(item.kv_end % config.fixed_split_keys, 0);
      }
    }
  }
}

}  // namespace
}  // namespace pagoda
