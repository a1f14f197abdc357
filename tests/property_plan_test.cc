// What a plan is bound to, and what explain() says of it.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "step.h"

namespace pagoda::testing {
namespace {

constexpr Model kBF16{.dtype = DType::kBFloat16};

TEST(Plan, IsBoundToWhatItRead) {
  Step step(kBF16, {{1, 0, 70}, {2, 99, 100}});
  const AttentionProblem& planned = step.problem();
  size_t bytes = 0;
  ASSERT_TRUE(workspace_size(limits_of(planned), &bytes).ok());
  Buffer workspace(bytes);
  Plan plan;
  ASSERT_TRUE(pagoda::plan(planned, {workspace.data(), bytes}, {}, &plan).ok());

  // The same lengths elsewhere.
  int32_t cu_seqlens_q[] = {0, 70, 71};
  int32_t seqused_k[] = {70, 100};
  // Masks of what was planned without.
  uint8_t causal_flags[] = {1, 0};
  int32_t prefix_lens[] = {3, 9};
  int64_t tree_words[73] = {};
  int32_t ranges[] = {1, 4, 10, 12};
  const std::vector<std::function<void(AttentionProblem*)>> changes = {
      [&](AttentionProblem* p) { p->cu_seqlens_q.data = cu_seqlens_q; },
      [&](AttentionProblem* p) { p->seqused_k.data = seqused_k; },
      [](AttentionProblem* p) { p->q.shape[0] = p->out.shape[0] = p->lse.shape[0] = 70; },
      [](AttentionProblem* p) { p->mask.causal = false; },
      [](AttentionProblem* p) { p->mask.window_left = 7; },
      [](AttentionProblem* p) { p->mask.window_right = 0; },
      [](AttentionProblem* p) { p->mask.chunk_size = 16; },
      [](AttentionProblem* p) {
        p->mask.chunk_size = 16;
        p->mask.chunk_lookback = 1;
      },
      [&](AttentionProblem* p) {
        p->mask.causal_per_seq = TensorView::contiguous(causal_flags, DType::kUInt8, {2});
      },
      [&](AttentionProblem* p) {
        p->mask.prefix_lens = TensorView::contiguous(prefix_lens, DType::kInt32, {2});
        p->mask.prefix_window_left = 4;
      },
      [&](AttentionProblem* p) {
        p->mask.tree_words = TensorView::contiguous(tree_words, DType::kInt64, {p->q.shape[0]});
      },
      [&](AttentionProblem* p) {
        p->mask.bidirectional_ranges = TensorView::contiguous(ranges, DType::kInt32, {2, 1, 2});
      },
      [](AttentionProblem* p) { p->split_policy = SplitPolicy::kFixed; }};
  for (size_t i = 0; i < changes.size(); ++i) {
    AttentionProblem problem = planned;
    changes[i](&problem);
    const Status status = attention(problem, plan);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << "change " << i;
    EXPECT_EQ(status.message().rfind("plan: ", 0), 0u) << i << ": " << status.message();
  }
  EXPECT_TRUE(attention(planned, plan).ok());
}

// Each number of the masks that a plan was made with.
TEST(Plan, IsBoundToTheNumbersOfItsMask) {
  Step step(kBF16, {{1, 0, 70}, {2, 99, 100}});
  AttentionProblem planned = step.problem();
  int32_t prefix_lens[] = {3, 9};
  int32_t ranges[] = {1, 4, 10, 12};
  planned.mask.prefix_lens = TensorView::contiguous(prefix_lens, DType::kInt32, {2});
  planned.mask.prefix_window_left = 4;
  planned.mask.window_left = 50;
  planned.mask.bidirectional_ranges = TensorView::contiguous(ranges, DType::kInt32, {2, 1, 2});
  planned.mask.clamp_ranges_to_window_left = true;
  planned.split_policy = SplitPolicy::kFixed;
  size_t bytes = 0;
  ASSERT_TRUE(workspace_size(limits_of(planned), &bytes).ok());
  Buffer workspace(bytes);
  Plan plan;
  ASSERT_TRUE(pagoda::plan(planned, {workspace.data(), bytes}, {}, &plan).ok());
  const std::vector<std::function<void(AttentionProblem*)>> changes = {
      [](AttentionProblem* p) { p->mask.prefix_window_left = 5; },
      [](AttentionProblem* p) {
        p->mask.prefix_lens = {};
        p->mask.prefix_window_left = -1;
      },
      [](AttentionProblem* p) { p->mask.clamp_ranges_to_window_left = false; },
      [](AttentionProblem* p) { p->fixed_split_keys = 64; }};
  for (size_t i = 0; i < changes.size(); ++i) {
    AttentionProblem problem = planned;
    changes[i](&problem);
    EXPECT_EQ(attention(problem, plan).message().rfind("plan: made for", 0), 0u) << "change " << i;
  }
  // Other tensors of the same kind are another layer's.
  int32_t same_lens[] = {3, 9};
  planned.mask.prefix_lens.data = same_lens;
  EXPECT_TRUE(attention(planned, plan).ok());
}

TEST(Explain, CountsVisiblePairsOnly) {
  Step step(kBF16, {{1, 996, 1000}});
  AttentionProblem problem = step.problem();
  const int64_t flops_of_pair = 4 * problem.q.shape[1] * problem.q.shape[2];
  const int64_t bytes_of_key = 2 * 2 * problem.kv.k_pages.shape[2] * problem.q.shape[2];
  EXPECT_EQ(explained(problem).flops, flops_of_pair * (997 + 998 + 999 + 1000));
  EXPECT_EQ(explained(problem).kv_bytes, bytes_of_key * 1000);

  // Drafts that see nothing of the step but themselves.
  int64_t tree_words[4] = {};
  problem.mask.tree_words = TensorView::contiguous(tree_words, DType::kInt64, {4});
  EXPECT_EQ(explained(problem).flops, flops_of_pair * 4 * 997);

  problem.mask.tree_words = {};
  int32_t prefix_lens[] = {100};
  problem.mask.prefix_lens = TensorView::contiguous(prefix_lens, DType::kInt32, {1});
  problem.mask.prefix_window_left = 9;
  EXPECT_EQ(explained(problem).flops, flops_of_pair * 4 * (100 + 10));
  EXPECT_EQ(explained(problem).kv_bytes, bytes_of_key * (100 + 13));
}

TEST(Explain, SaysWhyTheFasterArithmeticIsNotTaken) {
  EXPECT_NE(explained(Step({.dtype = DType::kFloat32}, {{1, 9, 10}}).problem())
                .text.find("\narithmetic: f32, as "),
            std::string::npos);
}

// A second call in a workspace where one is computing: from inside its pool, so that it surely is.
TEST(Plan, RefusesTwoCallsAtOnce) {
  Step step(kBF16, {{1, 99, 100}});
  size_t bytes = 0;
  ASSERT_TRUE(workspace_size(limits_of(step.problem()), &bytes).ok());
  Buffer workspace(bytes);
  Plan plan;
  ASSERT_TRUE(pagoda::plan(step.problem(), {workspace.data(), bytes}, {}, &plan).ok());
  struct Inside {
    const AttentionProblem& problem;
    const Plan& plan;
    Status status;
  } inside{step.problem(), plan, {}};
  ParallelFor pool;
  pool.num_workers = 1;
  pool.pool = &inside;
  pool.run = [](void* pool_data, int64_t num_tasks, ParallelTask task, void* task_context) {
    auto& call = *static_cast<Inside*>(pool_data);
    call.status = attention(call.problem, call.plan);
    for (int64_t i = 0; i < num_tasks; ++i) task(task_context, i, 0);
  };
  EXPECT_TRUE(attention(step.problem(), plan, {.parallel_for = &pool}).ok());
  EXPECT_EQ(inside.status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(inside.status.message().find("a plan and a workspace each"), std::string::npos)
      << inside.status.message();
  EXPECT_TRUE(attention(step.problem(), plan).ok());
}

}  // namespace
}  // namespace pagoda::testing
