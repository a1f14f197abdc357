// Parts of the pagoda command that can fail only where its tests from outside cannot look.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "cases.h"
#include "compare.h"
#include "compute.h"
#include "oracle_formats.h"
#include "random_data.h"
#include "scheduler.h"
#include "timing.h"
#include "units.h"

namespace pagoda::tools {
namespace {

testing::BuiltCase computed_case() {
  testing::Case spec;
  std::string error;
  EXPECT_TRUE(testing::parse_case("seqs=5x18,1x40 lse=1", &spec, &error)) << error;
  testing::BuiltCase built(spec);
  compute(built.problem());
  return built;
}

std::vector<int32_t> all_tokens() {
  return {0, 1, 2, 3, 4, 5};
}

TEST(Compare, AcceptsWhatTheLibraryComputes) {
  const testing::BuiltCase built = computed_case();
  const Comparison comparison = compare_with_oracle(built.problem(), all_tokens());
  EXPECT_TRUE(comparison.ok) << comparison.message;
  EXPECT_EQ(comparison.num_tokens, 6);
}

// Element [token, 0, 0] of out.
void* first_element(const AttentionProblem& problem, int64_t token) {
  return static_cast<char*>(problem.out.data) +
         token * problem.out.stride[0] * static_cast<int64_t>(size_of(problem.out.dtype));
}

TEST(Compare, FindsOneWrongElement) {
  for (const double wrong : {0.25, double{NAN}, double{INFINITY}}) {
    const testing::BuiltCase built = computed_case();
    const AttentionProblem& problem = built.problem();
    void* element = first_element(problem, 4);
    const double value = testing::decode(problem.out.dtype, element);
    testing::encode(problem.out.dtype, value + wrong, element);
    const Comparison comparison = compare_with_oracle(problem, all_tokens());
    EXPECT_FALSE(comparison.ok);
    EXPECT_NE(comparison.message.find("out[4, 0, 0]"), std::string::npos) << comparison.message;
    EXPECT_TRUE(compare_with_oracle(problem, {0, 1, 2, 3, 5}).ok) << "looks at other tokens";
  }
}

TEST(Compare, FindsAWrongLse) {
  const testing::BuiltCase built = computed_case();
  static_cast<float*>(built.problem().lse.data)[0] += 0.01f;
  const Comparison comparison = compare_with_oracle(built.problem(), all_tokens());
  EXPECT_FALSE(comparison.ok);
  EXPECT_NE(comparison.message.find("lse"), std::string::npos) << comparison.message;
}

TEST(Compare, SpreadTokensEndWithTheLast) {
  EXPECT_EQ(spread_tokens(10, 2), (std::vector<int32_t>{4, 9}));
  EXPECT_EQ(spread_tokens(3, 8), (std::vector<int32_t>{0, 1, 2}));
  EXPECT_TRUE(spread_tokens(0, 8).empty());
}

TEST(Scheduler, NoPageIsInTwoSequencesAndAllComeBack) {
  const SchedulerLimits limits{.token_budget = 24, .max_seqs = 5, .num_pages = 40, .page_size = 4};
  Random random(3);
  std::vector<Request> requests;
  for (int i = 0; i < 60; ++i) {
    requests.push_back({.context_tokens = 1 + static_cast<int32_t>(random.below(80)),
                        .generated_tokens = static_cast<int32_t>(random.below(30))});
  }
  Scheduler scheduler(limits, requests);
  while (!scheduler.done()) {
    const Step& step = scheduler.next_step();
    ASSERT_FALSE(step.seqs.empty());
    ASSERT_LE(step.seqs.size(), 5u);
    std::set<int32_t> seen;
    int32_t tokens = 0;
    for (const ScheduledSeq& seq : step.seqs) {
      tokens += seq.q_len;
      ASSERT_EQ(seq.pages->size(), static_cast<size_t>((seq.k_len + 3) / 4));
      for (const int32_t page : *seq.pages) {
        ASSERT_TRUE(0 <= page && page < 40) << page;
        ASSERT_TRUE(seen.insert(page).second) << "page " << page << " is in two places";
      }
    }
    ASSERT_LE(tokens, 24);
    ASSERT_LE(static_cast<int32_t>(seen.size()), scheduler.pages_in_use());
    scheduler.finish_step();
  }
  EXPECT_EQ(scheduler.num_finished(), 60);
  EXPECT_EQ(scheduler.pages_in_use(), 0);
}

TEST(Scheduler, FreedPagesAreTheFirstToBeUsedAgain) {
  Scheduler scheduler(
      {.token_budget = 8, .max_seqs = 1, .num_pages = 100, .page_size = 4},
      {{.context_tokens = 8, .generated_tokens = 1}, {.context_tokens = 8, .generated_tokens = 1}});
  const std::vector<int32_t> first = *scheduler.next_step().seqs.at(0).pages;
  scheduler.finish_step();
  EXPECT_EQ(*scheduler.next_step().seqs.at(0).pages, first);
}

TEST(RandomData, IsNormalAndReproducible) {
  std::vector<float> values(100'000);
  const TensorView view =
      TensorView::contiguous(values.data(), DType::kFloat32, {static_cast<int64_t>(values.size())});
  Random random(5);
  fill_normal(view, 2.0, &random);
  double sum = 0.0;
  double squares = 0.0;
  for (const float x : values) {
    sum += x;
    squares += double{x} * x;
  }
  const double count = static_cast<double>(values.size());
  EXPECT_NEAR(sum / count, 0.0, 0.05);
  EXPECT_NEAR(squares / count, 4.0, 0.1);
  const std::vector<float> before = values;
  Random again(5);
  fill_normal(view, 2.0, &again);
  EXPECT_EQ(values, before);
}

TEST(RandomData, ShuffledRangeHoldsEachNumberOnce) {
  Random random(5);
  const std::vector<int32_t> values = shuffled_range(1000, &random);
  EXPECT_EQ(std::set<int32_t>(values.begin(), values.end()).size(), 1000u);
  EXPECT_EQ(*std::max_element(values.begin(), values.end()), 999);
  EXPECT_FALSE(std::is_sorted(values.begin(), values.end()));
}

TEST(Timing, PercentilesAreSamples) {
  const std::vector<double> samples = {5.0, 1.0, 4.0, 2.0, 3.0};
  EXPECT_EQ(percentile(samples, 0.0), 1.0);
  EXPECT_EQ(median(samples), 3.0);
  EXPECT_EQ(percentile(samples, 0.81), 5.0);
  EXPECT_EQ(percentile(samples, 1.0), 5.0);
  EXPECT_EQ(percentile({}, 0.5), 0.0);
}

TEST(Units, HaveThreeDigits) {
  EXPECT_EQ(format_bytes(1536.0 * 1024 * 1024), "1.50 GiB");
  EXPECT_EQ(format_seconds(0.0123), "12.3 ms");
  EXPECT_EQ(format_seconds(3e-7), "0.30 us");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(-1234), "-1,234");
  EXPECT_EQ(format_count(123), "123");
  EXPECT_EQ(format_percent(0.456), "46 %");
}

}  // namespace
}  // namespace pagoda::tools
