// What calls say of arguments that only they see: workspaces, plans, pools, results.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/checks.h"
#include "pagoda/attention.h"
#include "unit/valid_problem.h"

namespace pagoda::testing {
namespace {

struct alignas(64) Block {
  unsigned char bytes[64];
};

// A problem with a workspace of just the size that it wants.
class CallErrors : public ::testing::Test {
 protected:
  CallErrors() {
    size_t bytes = 0;
    const Status status = workspace_size(limits_of(problem()), &bytes);
    EXPECT_TRUE(status.ok()) << status.message();
    memory_.resize(bytes / sizeof(Block) + 2);
    workspace_ = {memory_.data(), bytes};
  }

  AttentionProblem& problem() { return valid_.problem; }
  Workspace& workspace() { return workspace_; }
  Status make_plan(Plan* plan, const Execution& execution = {}) {
    return pagoda::plan(problem(), workspace_, execution, plan);
  }
  static void expect(const Status& status, StatusCode code, const std::string& message) {
    EXPECT_EQ(status.code(), code);
    EXPECT_EQ(status.message(), message);
  }

 private:
  ValidProblem valid_;
  std::vector<Block> memory_;
  Workspace workspace_;
};

TEST_F(CallErrors, WorkspaceOfNullData) {
  workspace() = {nullptr, 12345};
  Plan plan;
  expect(make_plan(&plan), StatusCode::kInvalidArgument,
         "workspace: got null data with 12345 bytes, wants memory of workspace_size() bytes");
}

TEST_F(CallErrors, WorkspaceThatIsNotAligned) {
  auto* const data = static_cast<unsigned char*>(workspace().data) + 48;
  workspace().data = data;
  Plan plan;
  expect(make_plan(&plan), StatusCode::kInvalidArgument,
         text("workspace: got data ", static_cast<void*>(data),
              ", 48 bytes past a multiple of 64, wants data aligned to 64 bytes; allocate it with "
              "std::aligned_alloc or alignas"));
}

TEST_F(CallErrors, WorkspaceThatIsTooSmall) {
  Plan plan;
  workspace().bytes = 100;
  const Status status = make_plan(&plan);
  EXPECT_EQ(status.code(), StatusCode::kWorkspaceTooSmall);
  const std::string begins = "workspace: got 100 bytes, this batch wants ";
  ASSERT_EQ(status.message().find(begins), 0u) << status.message();
  // What it names is enough, and a byte less is not.
  workspace().bytes = std::stoull(status.message().substr(begins.size()));
  EXPECT_NE(status.message().find("; size it with workspace_size()"), std::string::npos);
  EXPECT_TRUE(make_plan(&plan).ok());
  --workspace().bytes;
  EXPECT_EQ(make_plan(&plan).code(), StatusCode::kWorkspaceTooSmall);
}

TEST_F(CallErrors, NullResults) {
  expect(workspace_size({}, nullptr), StatusCode::kInvalidArgument,
         "bytes: got null, wants a pointer");
  expect(make_plan(nullptr), StatusCode::kInvalidArgument, "plan: got null, wants a pointer");
  Plan plan;
  ASSERT_TRUE(make_plan(&plan).ok());
  expect(explain(problem(), plan, nullptr), StatusCode::kInvalidArgument,
         "explanation: got null, wants a pointer");
}

TEST_F(CallErrors, PlanThatNobodyMade) {
  const char* message = "plan: got one that plan() did not make for the CPU; call plan() first";
  expect(attention(problem(), {}), StatusCode::kInvalidArgument, message);
  Explanation explanation;
  expect(explain(problem(), {}, &explanation), StatusCode::kInvalidArgument, message);
}

TEST_F(CallErrors, PlanForAnotherProblem) {
  Plan plan;
  ASSERT_TRUE(make_plan(&plan).ok());
  problem().mask.window_left = 3;
  expect(
      attention(problem(), plan), StatusCode::kInvalidArgument,
      "plan: made for a problem with other shapes, heads, head_dim, mask or split policy, or with "
      "cu_seqlens_q or seqused_k at other addresses; call plan() for this one");
}

TEST_F(CallErrors, PoolLargerThanThePlans) {
  ParallelFor pool{.run =
                       [](void*, int64_t num_tasks, ParallelTask task, void* context) {
                         for (int64_t i = 0; i < num_tasks; ++i) task(context, i, 0);
                       },
                   .num_workers = 1};
  const Execution execution{.parallel_for = &pool};
  Plan plan;
  ASSERT_TRUE(make_plan(&plan, execution).ok());
  EXPECT_TRUE(attention(problem(), plan, execution).ok());
  pool.num_workers = 3;
  expect(attention(problem(), plan, execution), StatusCode::kInvalidArgument,
         "execution: got a pool of 3 workers, the plan was made for 1; plan with the same pool");
}

// A pool that calls again while it computes.
TEST_F(CallErrors, PlanThatIsBeingComputed) {
  struct Again {
    const AttentionProblem& problem;
    Plan plan;
    Status status;
  } again{problem(), {}, {}};
  const ParallelFor pool{
      .run =
          [](void* context, int64_t num_tasks, ParallelTask task, void* task_context) {
            auto* const call = static_cast<Again*>(context);
            call->status = attention(call->problem, call->plan);
            for (int64_t i = 0; i < num_tasks; ++i) task(task_context, i, 0);
          },
      .pool = &again};
  ASSERT_TRUE(make_plan(&again.plan).ok());
  EXPECT_TRUE(attention(problem(), again.plan, {.stream = nullptr, .parallel_for = &pool}).ok());
  expect(
      again.status, StatusCode::kInvalidArgument,
      "plan: got one that another call is computing with, in the same workspace; give calls that "
      "run at once a plan and a workspace each");
  EXPECT_TRUE(attention(problem(), again.plan).ok());
}

TEST_F(CallErrors, LimitsOfExtentsThatTheyCannotHold) {
  problem().q.shape[1] = (int64_t{1} << 32) + 4;
  problem().seqused_k.shape[0] = int64_t{1} << 31;
  const AttentionLimits limits = limits_of(problem());
  EXPECT_EQ(limits.num_q_heads, kMaxInt32);
  EXPECT_EQ(limits.max_num_seqs, kMaxInt32);
  EXPECT_EQ(limits.num_kv_heads, 2);
  EXPECT_EQ(limits.head_dim, 16);
}

}  // namespace
}  // namespace pagoda::testing
