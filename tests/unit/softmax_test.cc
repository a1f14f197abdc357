#include "semantics/softmax.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace pagoda {
namespace {

// A state over some logits in natural units, and the value sum with v = the logit's index.
struct Row {
  SoftmaxState state;
  float out = 0.0f;
};

Row row_of(const std::vector<float>& logits, int first_value = 0) {
  Row row;
  for (float x : logits) row.state.max_log2 = std::max(row.state.max_log2, x * kLog2e);
  const float anchor = softmax_anchor(row.state.max_log2);
  for (size_t i = 0; i < logits.size(); ++i) {
    const float weight = softmax_weight(logits[i] * kLog2e, anchor);
    row.state.sum += weight;
    row.out += weight * static_cast<float>(first_value + static_cast<int>(i));
  }
  return row;
}

Row joined(const Row& a, const Row& b) {
  const SoftmaxJoin j = join(a.state, b.state);
  return {j.joined, a.out * j.a_factor + b.out * j.b_factor};
}

// As a kernel that keeps its maximum in units of scores.
Row row_of_scores(const std::vector<float>& scores, float to_log2, int first_value) {
  float max = -kInfinity;
  for (float x : scores) max = std::max(max, x);
  Row row;
  float sum = 0.0f;
  for (size_t i = 0; i < scores.size(); ++i) {
    const float weight = softmax_weight(scores[i], softmax_anchor(max), to_log2);
    sum += weight;
    row.out += weight * static_cast<float>(first_value + static_cast<int>(i));
  }
  const RoundedState rounded = rounded_state(max, sum, to_log2);
  row.state = rounded.state;
  row.out *= rounded.factor;
  return row;
}

// At 3e5 a maximum in base 2 is rounded by up to 1/64, which would show as 1 % in a weight.
TEST(Softmax, PartsOfLargeScoresJoinExactly) {
  constexpr float kScale = 0.125f;
  for (const float base : {-2.5e6f, -1e4f, 0.0f, 1e4f, 2.5e6f}) {
    const float scores[] = {base, base + 3.0f, base + 1.5f, base + 2.25f};
    double sum = 0.0;
    double out = 0.0;
    for (int i = 0; i < 4; ++i) {
      const double weight = std::exp(kScale * (static_cast<double>(scores[i]) - scores[0]));
      sum += weight;
      out += weight * i;
    }
    const Row whole = joined(row_of_scores({scores[0], scores[1]}, kScale * kLog2e, 0),
                             row_of_scores({scores[2], scores[3]}, kScale * kLog2e, 2));
    EXPECT_NEAR(whole.out * finalize(whole.state, -kInfinity).output_factor, out / sum, 2e-6)
        << base;
  }
}

TEST(Softmax, ScoresBeyondAllFractionsAreExact) {
  for (const float max : {1e12f, -1e12f, 3e37f}) {
    const Row row = row_of_scores({max, max, max - std::abs(max) / 2}, 1.0f, 1);
    EXPECT_EQ(row.out * finalize(row.state, -kInfinity).output_factor, 1.5f) << max;
  }
}

TEST(Softmax, JoinOfPartsIsTheWhole) {
  const Row whole = row_of({0.5f, -1.0f, 3.0f, 2.0f});
  const Row parts = joined(row_of({0.5f, -1.0f}), row_of({3.0f, 2.0f}, 2));
  EXPECT_NEAR(parts.state.max_log2, whole.state.max_log2, 1e-6f);
  EXPECT_NEAR(parts.state.sum, whole.state.sum, 1e-6f);
  EXPECT_NEAR(parts.out, whole.out, 1e-5f);
}

TEST(Softmax, JoinWithAnEmptyStateChangesNoBit) {
  const Row row = row_of({0.3f, -7.1f, 2.2f}, 1);
  for (const Row& both : {joined(row, Row{}), joined(Row{}, row)}) {
    EXPECT_EQ(both.state.max_log2, row.state.max_log2);
    EXPECT_EQ(both.state.sum, row.state.sum);
    EXPECT_EQ(both.out, row.out);
  }
}

TEST(Softmax, VeryNegativeRowsStayExact) {
  const Row row = row_of({-1e4f, -1e4f - 1.0f}, 1);
  const SoftmaxResult result = finalize(row.state, -kInfinity);
  EXPECT_NEAR(row.out * result.output_factor, 1.0f + 1.0f / (1.0f + std::exp(1.0f)), 1e-2f);
  EXPECT_NEAR(result.lse, -1e4f + std::log1p(std::exp(-1.0f)), 1e-2f);
}

TEST(Softmax, ARowThatSeesNothingIsZero) {
  const SoftmaxResult result = finalize(SoftmaxState{}, -kInfinity);
  EXPECT_EQ(result.output_factor, 0.0f);
  EXPECT_EQ(result.lse, -kInfinity);
}

TEST(Softmax, ASinkAloneIsTheLse) {
  const SoftmaxResult result = finalize(SoftmaxState{}, 0.7f);
  EXPECT_EQ(result.output_factor, 0.0f);
  EXPECT_EQ(result.lse, 0.7f);
}

TEST(Softmax, ASinkIsOneMoreTermOfTheDenominator) {
  const Row row = row_of({1.0f, 2.0f});
  for (float sink : {-30.0f, 0.5f, 60.0f}) {
    const SoftmaxResult result = finalize(row.state, sink);
    const double total = std::exp(1.0) + std::exp(2.0) + std::exp(static_cast<double>(sink));
    EXPECT_NEAR(row.out * result.output_factor, std::exp(2.0) / total, 1e-6);
    EXPECT_NEAR(result.lse, std::log(total), 1e-5);
  }
}

TEST(Softmax, NanPropagates) {
  const Row row = row_of({1.0f, std::nanf("")});
  EXPECT_TRUE(std::isnan(row.state.sum));
  EXPECT_TRUE(std::isnan(joined(row_of({0.0f}), row).state.sum));
  EXPECT_TRUE(std::isnan(joined(row, row_of({0.0f})).state.sum));
  EXPECT_TRUE(std::isnan(finalize(row.state, -kInfinity).output_factor));
}

}  // namespace
}  // namespace pagoda
