// The oracle by itself: values that a reader can work out.
#include "oracle.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "cases.h"
#include "cases_memory.h"
#include "oracle_formats.h"

namespace pagoda::testing {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr int64_t kDim = 8;

// One head, pages of two tokens in descending order, f32. Token t's V is all t + 1; q and K are 0
// but for the first channel, so that a score is q * k.
class Tiny {
 public:
  Tiny(const std::vector<float>& q, const std::vector<float>& k) {
    const auto q_len = static_cast<int64_t>(q.size());
    const auto k_len = static_cast<int64_t>(k.size());
    const int64_t num_pages = (k_len + 1) / 2;
    problem.q = zeros(DType::kFloat32, {q_len, 1, kDim});
    problem.out = problem.q;
    problem.kv.k_pages = zeros(DType::kFloat32, {num_pages, 2, 1, kDim});
    problem.kv.v_pages = zeros(DType::kFloat32, {num_pages, 2, 1, kDim});
    problem.kv.block_table = zeros(DType::kInt32, {1, num_pages});
    problem.cu_seqlens_q = ints({0, static_cast<int32_t>(q_len)});
    problem.seqused_k = ints({static_cast<int32_t>(k_len)});
    problem.softmax_scale = 1.0f;
    for (int64_t i = 0; i < q_len; ++i) *element_at(problem.q, i, 0) = q[i];
    for (int64_t t = 0; t < k_len; ++t) {
      const int64_t page = num_pages - 1 - t / 2;
      element_as<int32_t>(problem.kv.block_table, 0, t / 2) = static_cast<int32_t>(page);
      *element_at(problem.kv.k_pages, page, t % 2) = k[t];
      for (int64_t d = 0; d < kDim; ++d) {
        (*element_at(problem.kv.v_pages, page, t % 2, d)) = static_cast<float>(t + 1);
      }
    }
  }

  TensorView floats(const std::vector<float>& values) {
    TensorView view = zeros(DType::kFloat32, {static_cast<int64_t>(values.size())});
    std::copy(values.begin(), values.end(), static_cast<float*>(view.data));
    return view;
  }
  TensorView ints(const std::vector<int32_t>& values) {
    TensorView view = zeros(DType::kInt32, {static_cast<int64_t>(values.size())});
    std::copy(values.begin(), values.end(), static_cast<int32_t*>(view.data));
    return view;
  }

  // out[0] and lse of one row.
  std::pair<double, double> row(int64_t token, Precision precision = Precision::kDouble) const {
    const OracleResult result = run_oracle(problem, precision);
    return {result.out[token * kDim], result.lse[token]};
  }

  AttentionProblem problem;

 private:
  TensorView zeros(DType dtype, const std::vector<int64_t>& shape) {
    TensorView view = pool_.make(dtype, shape);
    std::fill_n(static_cast<char*>(view.data), bytes_spanned(view), 0);
    return view;
  }
  static float* element_at(const TensorView& view, int64_t i, int64_t j, int64_t d = 0) {
    return static_cast<float*>(element(view, i, j, 0, 0)) + d;
  }

  TensorPool pool_;
};

void expect_row(const Tiny& tiny, int64_t token, double out, double lse) {
  const auto [got_out, got_lse] = tiny.row(token);
  EXPECT_DOUBLE_EQ(got_out, out);
  EXPECT_DOUBLE_EQ(got_lse, lse);
}

TEST(OracleByHand, OneKeyIsItsValue) {
  expect_row(Tiny({2.0f}, {0.75f}), 0, 1.0, 1.5);
}

TEST(OracleByHand, TwoKeysAreASigmoid) {
  const double p = 1.0 / (1.0 + std::exp(-0.5));  // weight of the second key
  expect_row(Tiny({1.0f}, {0.25f, 0.75f}), 0, 1.0 + p, std::log(std::exp(0.25) + std::exp(0.75)));
}

TEST(OracleByHand, EqualScoresAverage) {
  expect_row(Tiny({0.0f}, {1.0f, 2.0f, 3.0f, 4.0f, 5.0f}), 0, 3.0, std::log(5.0));
}

TEST(OracleByHand, CausalIsBottomRightAligned) {
  const Tiny tiny({0.0f, 0.0f}, {1.0f, 1.0f, 1.0f});
  expect_row(tiny, 0, 1.5, std::log(2.0));
  expect_row(tiny, 1, 2.0, std::log(3.0));
}

TEST(OracleByHand, RowsBeforeTheFirstKeySeeNothing) {
  Tiny tiny({0.0f, 0.0f, 0.0f}, {1.0f});
  expect_row(tiny, 0, 0.0, -kInf);
  expect_row(tiny, 2, 1.0, 0.0);
  tiny.problem.sinks = tiny.floats({0.625f});
  expect_row(tiny, 0, 0.0, 0.625);
}

TEST(OracleByHand, SinkEntersTheDenominatorOnly) {
  Tiny tiny({0.0f}, {1.0f, 1.0f});
  tiny.problem.sinks = tiny.floats({std::log(2.0f)});
  const double sink = std::exp(static_cast<double>(std::log(2.0f)));
  expect_row(tiny, 0, 3.0 / (2.0 + sink), std::log(2.0 + sink));
}

TEST(OracleByHand, DefaultScaleIsOneOverRootHeadDim) {
  Tiny tiny({2.0f}, {3.0f});
  tiny.problem.softmax_scale = 0.0f;
  expect_row(tiny, 0, 1.0, 6.0 / std::sqrt(8.0));
}

TEST(OracleByHand, SoftCapIsATrueTanh) {
  Tiny tiny({1.0f}, {7.0f});
  tiny.problem.logits_soft_cap = 2.0f;
  expect_row(tiny, 0, 1.0, 2.0 * std::tanh(3.5));
}

TEST(OracleByHand, AlibiCountsFromTheQuery) {
  Tiny tiny({0.0f}, {1.0f, 1.0f, 1.0f});
  tiny.problem.alibi_slopes = tiny.floats({0.5f});
  const double a = std::exp(-1.0), b = std::exp(-0.5);
  expect_row(tiny, 0, (a + 2.0 * b + 3.0) / (a + b + 1.0), std::log(a + b + 1.0));
  tiny.problem.alibi_sqrt = true;
  const double c = std::exp(-0.5 * std::sqrt(2.0));
  expect_row(tiny, 0, (c + 2.0 * b + 3.0) / (c + b + 1.0), std::log(c + b + 1.0));
}

TEST(OracleByHand, BiasCoversTheStepsOwnKeysOnly) {
  Tiny tiny({0.0f, 0.0f}, {1.0f, 1.0f, 1.0f});
  TensorView bias = tiny.floats({std::log(3.0f)});
  bias.rank = 2;
  bias.shape[0] = bias.shape[1] = 1;  // query 0, key 1; the rest adds nothing
  tiny.problem.bias = bias;
  const double three = std::exp(static_cast<double>(std::log(3.0f)));
  expect_row(tiny, 0, (1.0 + 2.0 * three) / (1.0 + three), std::log(1.0 + three));
  expect_row(tiny, 1, 2.0, std::log(3.0));
  *static_cast<float*>(bias.data) = -std::numeric_limits<float>::infinity();
  expect_row(tiny, 0, 1.0, 0.0);
}

TEST(OracleByHand, NanReachesRowsThatSeeIt) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tiny tiny({1.0f, 1.0f}, {0.0f, nan});
  expect_row(tiny, 0, 1.0, 0.0);
  EXPECT_TRUE(std::isnan(tiny.row(1).first));
  EXPECT_TRUE(std::isnan(tiny.row(1).second));
}

TEST(OracleByHand, NaiveRoundsWeightsAndOutput) {
  Tiny tiny({0.0f}, {1.0f, 1.0f, 1.0f});
  tiny.problem.q.dtype = DType::kBFloat16;  // of zeros
  const double third = round_to(DType::kBFloat16, 1.0 / 3.0);
  EXPECT_NE(6.0 * third, 2.0);
  EXPECT_EQ(tiny.row(0, Precision::kNaive).first, 6.0 * third);
  EXPECT_EQ(tiny.row(0).first, 2.0);
  tiny.problem.out.dtype = DType::kBFloat16;
  EXPECT_EQ(tiny.row(0, Precision::kNaive).first, 2.0);  // spacing 1/64 there
}

TEST(OracleRows, PaddingAndSubsets) {
  const BuiltCase built({.seqs = {{3, 5}, {0, 4}, {2, 2}}, .padding_rows = 2});
  const OracleResult all = run_oracle(built.problem(), Precision::kDouble);
  EXPECT_EQ(all.written, (std::vector<uint8_t>{1, 1, 1, 1, 1, 0, 0}));
  const OracleResult some = run_oracle(built.problem(), Precision::kDouble, {1, 4});
  EXPECT_EQ(some.written, (std::vector<uint8_t>{0, 1, 0, 0, 1, 0, 0}));
  for (const int64_t row : {4, 5, 6, 7, 16, 17, 18, 19}) EXPECT_EQ(some.lse[row], all.lse[row]);
}

TEST(OracleRows, NaiveIsCloseToTheTruthAndNotEqual) {
  const BuiltCase built({.seqs = {{3, 50}, {40, 40}}});
  const OracleResult truth = run_oracle(built.problem(), Precision::kDouble);
  const OracleResult naive = run_oracle(built.problem(), Precision::kNaive);
  double max_error = 0.0;
  for (size_t i = 0; i < truth.out.size(); ++i) {
    max_error = std::max(max_error, std::abs(truth.out[i] - naive.out[i]));
  }
  EXPECT_GT(max_error, 0x1p-10);  // bf16 has 8 bits
  EXPECT_LT(max_error, 0x1p-5);
}

}  // namespace
}  // namespace pagoda::testing
