// Batch invariance: under SplitPolicy::kFixed a token's bits depend on nothing but its sequence.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "step.h"

namespace pagoda::testing {
namespace {

constexpr uint32_t kSequence = 9;
constexpr int32_t kLength = 300;

class BatchInvariance : public ::testing::TestWithParam<DType> {
 protected:
  Model model() const { return {.num_q_heads = 6, .num_kv_heads = 2, .dtype = GetParam()}; }

  RowBits run(const std::vector<Slice>& slices, const StepLayout& layout = {}) const {
    Step step(model(), slices, layout);
    step.problem().split_policy = SplitPolicy::kFixed;
    step.problem().fixed_split_keys = 128;
    change_(&step.problem());
    return step.run();
  }

  // The whole sequence as one prefill, alone.
  RowBits alone() const { return run({{kSequence, 0, kLength}}); }

  std::function<void(AttentionProblem*)> change_ = [](AttentionProblem*) {};
};

INSTANTIATE_TEST_SUITE_P(Dtypes, BatchInvariance,
                         ::testing::Values(DType::kFloat32, DType::kBFloat16, DType::kFloat16),
                         [](const auto& suite) {
                           return suite.param == DType::kFloat32    ? "f32"
                                  : suite.param == DType::kBFloat16 ? "bf16"
                                                                    : "f16";
                         });

TEST_P(BatchInvariance, NeighboursDoNotMatter) {
  const RowBits reference = alone();
  const std::vector<std::vector<Slice>> batches = {
      {{kSequence, 0, kLength}, {1, 0, 50}},
      {{1, 4999, 5000}, {kSequence, 0, kLength}},
      {{1, 0, 7}, {2, 100, 101}, {kSequence, 0, kLength}, {3, 0, 600}, {4, 2047, 2048}}};
  for (const std::vector<Slice>& batch : batches) {
    const RowBits rows = run(batch);
    for (int32_t p = 0; p < kLength; ++p) {
      ASSERT_EQ(rows.at({kSequence, p}), reference.at({kSequence, p})) << "position " << p;
    }
  }
}

TEST_P(BatchInvariance, ChunksDoNotMatter) {
  const auto check = [&] {
    const RowBits reference = alone();
    for (const int32_t chunk : {1, 2, 5, 16, 33, 64, 100, 299}) {
      for (int32_t begin = 0; begin < kLength; begin += chunk) {
        const int32_t end = std::min(begin + chunk, kLength);
        if (chunk == 1 && begin % 23 > 1) continue;  // some of three hundred decodes
        expect_same_bits(run({{kSequence, begin, end}}), reference);
        if (HasFatalFailure()) FAIL() << "in chunks of " << chunk;
      }
    }
  };
  check();
  change_ = [](AttentionProblem* problem) {
    problem->mask.window_left = 150;
    problem->logits_soft_cap = 20.0f;
  };
  check();
}

TEST_P(BatchInvariance, DecodeAmongOthersIsThePrefillsLastRow) {
  expect_same_bits(run({{kSequence, kLength - 1, kLength}}), alone());
  const RowBits rows = run({{1, 0, 64}, {kSequence, kLength - 1, kLength}, {2, 999, 1000}});
  EXPECT_EQ(rows.at({kSequence, kLength - 1}), alone().at({kSequence, kLength - 1}));
}

TEST_P(BatchInvariance, PaddingDoesNotMatter) {
  for (const int32_t padding_rows : {1, 17, 200}) {
    expect_same_bits(run({{kSequence, 0, kLength}}, {.padding_rows = padding_rows}), alone());
  }
}

TEST_P(BatchInvariance, PagesDoNotMatter) {
  for (const int32_t page_size : {1, 8, 48, 784}) {
    expect_same_bits(run({{kSequence, 0, kLength}}, {.page_size = page_size, .page_seed = 5}),
                     alone());
  }
}

}  // namespace
}  // namespace pagoda::testing
