#include "semantics/score.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace pagoda {
namespace {

ScoreParams plain() {
  ScoreParams score{};
  score.softmax_scale = 1.0f;
  return score;
}

ScorePlace<float> at(float slope, float distance) {
  return {slope, distance, 0.0f};
}

TEST(Score, PlainScoreIsOnlyScaled) {
  const ScoreParams score = plain();
  EXPECT_TRUE(is_plain_score(score));
  EXPECT_EQ(logit(score, 3.0f, 0.5f, ScorePlace<float>{9.0f, 9.0f, 9.0f}), 1.5f);
}

TEST(Score, SoftCapComesAfterTheScale) {
  ScoreParams score = plain();
  score.logits_soft_cap = 2.0f;
  EXPECT_FALSE(is_plain_score(score));
  EXPECT_NEAR(logit(score, 6.0f, 0.5f, ScorePlace<float>{}), 2.0f * std::tanh(1.5f), 1e-6f);
}

TEST(Score, SoftCapIsFiniteForEveryFiniteLogit) {
  ScoreParams score = plain();
  score.logits_soft_cap = 50.0f;
  EXPECT_EQ(logit(score, 3e38f, 1.0f, ScorePlace<float>{}), 50.0f);
  EXPECT_EQ(logit(score, -3e38f, 1.0f, ScorePlace<float>{}), -50.0f);
  score.logits_soft_cap = 1e-39f;  // its inverse is not finite
  EXPECT_EQ(logit(score, 0.0f, 1.0f, ScorePlace<float>{}), 0.0f);
  EXPECT_EQ(logit(score, 3e38f, 1.0f, ScorePlace<float>{}), 1e-39f);
}

TEST(Score, AlibiIsRelativeToTheQueryAndNotCapped) {
  const float slopes[] = {0.25f, 0.5f};
  ScoreParams score = plain();
  score.alibi_slopes = slopes;
  score.alibi_slopes_stride = 1;
  score.logits_soft_cap = 1.0f;
  EXPECT_EQ(Alibi::slope(score, 1), 0.5f);
  EXPECT_NEAR(logit(score, 0.0f, 1.0f, at(0.5f, -100.0f)), -50.0f, 1e-6f);
}

TEST(Score, AlibiSquareRootLeavesFutureKeysAlone) {
  const float slopes[] = {2.0f};
  ScoreParams score = plain();
  score.alibi_slopes = slopes;
  score.alibi_sqrt = true;
  EXPECT_EQ(logit(score, 1.0f, 1.0f, at(2.0f, -9.0f)), -5.0f);
  EXPECT_EQ(logit(score, 1.0f, 1.0f, at(2.0f, 0.0f)), 1.0f);
  EXPECT_EQ(logit(score, 1.0f, 1.0f, at(2.0f, 4.0f)), 1.0f);
}

TEST(Score, BiasAddsNothingOutsideItsMatrix) {
  const float bias[] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f};
  ScoreParams score = plain();
  score.bias = bias;
  score.bias_rows = 2;
  score.bias_columns = 3;
  score.bias_row_stride = 3;
  score.bias_column_stride = 1;
  EXPECT_EQ(Bias::value(score, 5, 1, 2), 6.0f);
  EXPECT_EQ(Bias::value(score, 0, 2, 0), 0.0f);
  EXPECT_EQ(Bias::value(score, 0, 0, 3), 0.0f);
  EXPECT_EQ(Bias::value(score, 0, 0, -1), 0.0f);
}

TEST(Score, ABiasCanHideOnlyTheStepsOwnKeys) {
  MaskRule rule{};
  rule.q_len = 4;
  rule.k_len = 10;
  ScoreParams score = plain();
  EXPECT_EQ(without_bias(score, rule, {0, 10}).end, 10);
  const float bias[] = {0.0f};
  score.bias = bias;
  EXPECT_EQ(without_bias(score, rule, {0, 10}).end, 6);
}

TEST(Score, SinkOfAnotherTypeIsConverted) {
  const BFloat16 sinks[] = {to_bfloat16(1.5f), to_bfloat16(-2.0f)};
  ScoreParams score = plain();
  EXPECT_EQ(Sink::value(score, 0), -kInfinity);
  score.sinks = sinks;
  score.sinks_dtype = DType::kBFloat16;
  score.sinks_stride = 1;
  EXPECT_EQ(Sink::value(score, 1), -2.0f);
}

}  // namespace
}  // namespace pagoda
