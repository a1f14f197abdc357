// The oracle's mask rules: different ways to ask for the same keys must agree.
#include <gtest/gtest.h>

#include <functional>

#include "cases.h"
#include "cases_memory.h"
#include "oracle.h"

namespace pagoda::testing {
namespace {

// Two ways to ask for the same thing must give the same bits.
struct SameThing {
  const char* line;
  std::function<void(AttentionProblem*)> first;
  std::function<void(AttentionProblem*)> second;
};

void expect_same(const SameThing& test) {
  Case c;
  std::string error;
  ASSERT_TRUE(parse_case(test.line, &c, &error)) << error;
  const BuiltCase built(c);
  AttentionProblem first = built.problem();
  AttentionProblem second = built.problem();
  test.first(&first);
  test.second(&second);
  const OracleResult a = run_oracle(first, Precision::kDouble);
  const OracleResult b = run_oracle(second, Precision::kDouble);
  EXPECT_EQ(a.visible_keys, b.visible_keys) << test.line;
  EXPECT_EQ(a.out, b.out) << test.line;
  EXPECT_EQ(a.lse, b.lse) << test.line;
}

// Intervals only, in place of whatever the case has.
struct Interval {
  bool causal = true;
  int32_t window_left = -1;
  int32_t window_right = -1;
};

std::function<void(AttentionProblem*)> only(const Interval& interval) {
  return [interval](AttentionProblem* problem) {
    problem->mask = {};
    problem->mask.causal = interval.causal;
    problem->mask.window_left = interval.window_left;
    problem->mask.window_right = interval.window_right;
  };
}

TEST(OracleMask, Causal) {
  const char* line = "seqs=5x20,9x9,12x4 d=8";
  expect_same({line, only({}), only({.causal = false, .window_right = 0})});
  expect_same({line, only({}), only({.window_left = 19, .window_right = 3})});
  expect_same({line, only({}), [](AttentionProblem* problem) {
                 problem->mask.chunk_size = 5;
                 problem->mask.chunk_lookback = 4;
               }});
  expect_same({"seqs=5x20,9x9,12x4 d=8 causal=0 causal_per_seq=1 seed=2", only({}),
               [](AttentionProblem* problem) {
                 for (int64_t s = 0; s < 3; ++s) {
                   element_as<uint8_t>(problem->mask.causal_per_seq, s) = 7;
                 }
               }});
}

TEST(OracleMask, WindowOfOneChunkPerToken) {
  expect_same({"seqs=5x20,9x9,12x4 d=8", only({.window_left = 3}), [](AttentionProblem* problem) {
                 problem->mask.chunk_size = 1;
                 problem->mask.chunk_lookback = 3;
               }});
}

TEST(OracleMask, PrefixWindow) {
  const char* line = "seqs=5x20,9x9,12x4 d=8 prefix_window=3 seed=2";
  const auto set_prefix = [](int32_t length) {
    return [length](AttentionProblem* problem) {
      for (int64_t s = 0; s < 3; ++s) element_as<int32_t>(problem->mask.prefix_lens, s) = length;
    };
  };
  expect_same({line, only({}), set_prefix(20)});
  const BuiltCase none({.seqs = {{5, 20}}, .prefix_window_left = 3});
  AttentionProblem problem = none.problem();
  element_as<int32_t>(problem.mask.prefix_lens, 0) = 0;
  EXPECT_EQ(run_oracle(problem, Precision::kDouble).visible_keys, std::vector<int32_t>(5, 4));
}

TEST(OracleMask, TreeOfEveryAncestorIsCausal) {
  expect_same({"seqs=5x20,9x9,70x80 d=8 tree=1", only({}), [](AttentionProblem* problem) {
                 TensorView& words = problem->mask.tree_words;
                 for (int64_t i = 0; i < words.shape[0]; ++i) element_as<int64_t>(words, i) = -1;
               }});
}

TEST(OracleMask, TreeWithoutAncestorsSeesContextAndItself) {
  const BuiltCase built({.seqs = {{3, 10}, {70, 80}}, .head_dim = 8, .tree = true});
  AttentionProblem problem = built.problem();
  for (int64_t i = 0; i < 73; ++i) element_as<int64_t>(problem.mask.tree_words, i) = 0;
  const OracleResult result = run_oracle(problem, Precision::kDouble);
  EXPECT_EQ(result.visible_keys[2], 7 + 1);
  EXPECT_EQ(result.visible_keys[3 + 63], 10 + 1);
  // Step tokens from the 65th on are not restricted: the last sees keys 64 .. 69 of the step.
  EXPECT_EQ(result.visible_keys[3 + 69], 10 + 6);
}

TEST(OracleMask, RangeOverEverything) {
  const auto one_range = [](int32_t first, int32_t last, bool clamp) {
    return [=](AttentionProblem* problem) {
      problem->mask.window_left = clamp ? 2 : -1;
      problem->mask.clamp_ranges_to_window_left = clamp;
      for (int64_t s = 0; s < 2; ++s) {
        element_as<int32_t>(problem->mask.bidirectional_ranges, s, 0, 0) = first;
        element_as<int32_t>(problem->mask.bidirectional_ranges, s, 0, 1) = last;
      }
    };
  };
  const char* line = "seqs=20x20,9x9 d=8 ranges=1";
  expect_same({line, only({.causal = false}), one_range(0, 19, false)});
  expect_same({line, only({}), one_range(5, 4, false)});  // padding
  expect_same({line, only({.causal = false, .window_left = 2}), one_range(0, 19, true)});
}

}  // namespace
}  // namespace pagoda::testing
