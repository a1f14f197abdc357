// merge_states against the naive one, and against attention over the union of the keys.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kv_oracle.h"
#include "oracle_formats.h"
#include "pagoda/kv_cache.h"

namespace pagoda::testing {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// What an lse becomes here and there.
enum class Oddities {
  kNone,
  kSome,  // +inf, -inf or NaN in one state of a row
  kMany,  // in any state, up to all of a row
};

struct MergeCase {
  DType dtype = DType::kFloat32;
  DType merged_dtype = DType::kFloat32;
  int32_t num_states = 2;
  int64_t num_tokens = 13;
  int64_t num_heads = 4;
  int64_t head_dim = 48;
  LseLayout layout = LseLayout::kHeadsTokens;
  Oddities oddities = Oddities::kNone;
  double lse_offset = 0.0;
};

std::string describe(const MergeCase& c) {
  return "dtype " + std::to_string(static_cast<int>(c.dtype)) + " merged " +
         std::to_string(static_cast<int>(c.merged_dtype)) + " states " +
         std::to_string(c.num_states) + " tokens " + std::to_string(c.num_tokens) + " heads " +
         std::to_string(c.num_heads) + " head_dim " + std::to_string(c.head_dim) + " layout " +
         std::to_string(static_cast<int>(c.layout));
}

std::vector<int64_t> lse_shape(const MergeCase& c) {
  if (c.layout == LseLayout::kHeadsTokens) return {c.num_heads, c.num_tokens};
  return {c.num_tokens, c.num_heads};
}

class Merger {
 public:
  explicit Merger(const MergeCase& c)
      : case_(c),
        random_(11, "merge"),
        merged_out_(c.merged_dtype, {c.num_tokens, c.num_heads, c.head_dim}, {{1, 0, 2}, 3}),
        merged_lse_(DType::kFloat32, lse_shape(c), {.gap = 2}) {
    for (int32_t i = 0; i < c.num_states; ++i) {
      AttentionState state;
      state.out = pool_.make(c.dtype, {c.num_tokens, c.num_heads, c.head_dim}, {.gap = 1});
      state.lse = pool_.make(DType::kFloat32, lse_shape(c), {.inner_stride = 2});
      fill(state.out, [&] { return random_.normal(); });
      fill(state.lse, [&] { return 4.0 * random_.normal() + c.lse_offset; });
      states_.push_back(state);
    }
    merged_ = {merged_out_.view(), merged_lse_.view()};
    for (int64_t token = 0; token < c.num_tokens; ++token) {
      for (int64_t head = 0; head < c.num_heads; ++head) make_odd(token, head);
    }
  }

  void merge_into_first() {
    ASSERT_EQ(case_.dtype, case_.merged_dtype);
    merged_ = states_[0];
  }
  void leave_out_lse() { merged_.lse = {}; }

  void run_and_check() {
    std::vector<OracleMerge> want;
    for (int64_t i = 0; i < case_.num_tokens * case_.num_heads; ++i) {
      want.push_back(merged_row(states_, i / case_.num_heads, i % case_.num_heads, case_.layout));
    }
    const Status status = merge_states(states_.data(), case_.num_states, merged_, case_.layout);
    ASSERT_TRUE(status.ok()) << status.message();
    for (int64_t i = 0; i < case_.num_tokens * case_.num_heads; ++i) {
      check_row(want[static_cast<size_t>(i)], i / case_.num_heads, i % case_.num_heads);
    }
    EXPECT_TRUE(merged_out_.rest_is_intact() && merged_lse_.rest_is_intact());
  }

 private:
  // A state that counts for nothing keeps its poisoned output: it must not be read.
  void make_odd(int64_t token, int64_t head) {
    if (case_.oddities == Oddities::kNone) return;
    const bool all = case_.oddities == Oddities::kMany;
    const int64_t only = random_.below(case_.num_states);
    for (int64_t i = 0; i < case_.num_states; ++i) {
      if ((!all && i != only) || !random_.chance(all ? 0.4 : 0.1)) continue;
      const AttentionState& state = states_[static_cast<size_t>(i)];
      *lse_at(state.lse, token, head, case_.layout) =
          random_.pick(std::vector<float>{kInf, -kInf, NAN});
      for (int64_t d = 0; d < case_.head_dim; ++d) set_element(state.out, NAN, token, head, d);
    }
  }

  void check_row(const OracleMerge& want, int64_t token, int64_t head) {
    merged_out_.allow(element(merged_.out, token, head), merged_.out.dtype, case_.head_dim);
    for (int64_t d = 0; d < case_.head_dim; ++d) {
      const void* got = element(merged_.out, token, head, d);
      const auto i = static_cast<size_t>(d);
      ASSERT_TRUE(is_rounding_of(merged_.out.dtype, got, want.out.values[i], want.out.errors[i]))
          << "token " << token << " head " << head << " channel " << d << ": got "
          << decode(merged_.out.dtype, got) << ", wants " << want.out.values[i] << " +- "
          << want.out.errors[i];
    }
    if (!merged_.lse.present()) return;
    const float* lse = lse_at(merged_.lse, token, head, case_.layout);
    merged_lse_.allow(lse, DType::kFloat32, 1);
    if (std::isinf(want.lse)) {
      ASSERT_EQ(*lse, -kInf);
    } else {
      ASSERT_NEAR(*lse, want.lse, 3e-7 * (1.0 + std::abs(want.lse)));
    }
  }

  const MergeCase case_;
  Random random_;
  TensorPool pool_;
  std::vector<AttentionState> states_;
  WatchedTensor merged_out_;
  WatchedTensor merged_lse_;
  AttentionState merged_;
};

void check(const MergeCase& c) {
  SCOPED_TRACE(describe(c));
  Merger(c).run_and_check();
}

const DType kWide[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16};

TEST(MergeStates, TwoStatesOfEveryShape) {
  for (DType dtype : kWide) {
    for (int64_t num_tokens : {1, 39, 130}) {
      for (int64_t num_heads : {4, 5}) {
        for (int64_t head_dim : {7, 32, 48, 128, 300}) {
          check({.dtype = dtype,
                 .merged_dtype = dtype,
                 .num_tokens = num_tokens,
                 .num_heads = num_heads,
                 .head_dim = head_dim,
                 .oddities = Oddities::kSome});
        }
      }
    }
  }
}

TEST(MergeStates, TypesMayDiffer) {
  for (DType dtype : kWide) {
    for (DType merged : kWide) check({.dtype = dtype, .merged_dtype = merged});
  }
}

TEST(MergeStates, AnyNumberOfStates) {
  for (int32_t num_states : {1, 2, 3, 8, 40}) {
    for (LseLayout layout : {LseLayout::kHeadsTokens, LseLayout::kTokensHeads}) {
      for (Oddities oddities : {Oddities::kNone, Oddities::kSome, Oddities::kMany}) {
        check({.num_states = num_states, .layout = layout, .oddities = oddities});
      }
    }
  }
}

TEST(MergeStates, LargeLseKeepsItsWeights) {
  for (double offset : {-3e4, -500.0, 500.0, 3e4}) check({.lse_offset = offset});
}

TEST(MergeStates, IntoOneOfTheStates) {
  for (DType dtype : kWide) {
    Merger merger({.dtype = dtype,
                   .merged_dtype = dtype,
                   .num_states = 3,
                   .head_dim = 600,
                   .oddities = Oddities::kMany});
    merger.merge_into_first();
    merger.run_and_check();
  }
}

TEST(MergeStates, WithoutLse) {
  Merger merger({});
  merger.leave_out_lse();
  merger.run_and_check();
}

TEST(MergeStates, OneStateThatCountsIsCopied) {
  const std::vector<float> seen{0.1f, -2.5f, 3e-9f};
  const std::vector<float> unseen{NAN, NAN, NAN};
  std::vector<float> out(3);
  const float lses[] = {-1234.5f, NAN};
  const auto state = [](const void* rows, const float* lse) {
    return AttentionState{TensorView::contiguous(rows, DType::kFloat32, {1, 1, 3}),
                          TensorView::contiguous(lse, DType::kFloat32, {1, 1})};
  };
  float lse = 0.0f;
  const AttentionState states[] = {state(unseen.data(), lses + 1), state(seen.data(), lses)};
  ASSERT_TRUE(merge_states(states, 2, state(out.data(), &lse)).ok());
  EXPECT_EQ(out, seen);
  EXPECT_EQ(lse, -1234.5f);
}

// Softmax-weighted sums of one-dimensional values, over parts of the keys and over all.
TEST(MergeStates, IsAttentionOverTheUnion) {
  constexpr int kParts = 3;
  constexpr int kKeysPerPart = 50;
  for (uint32_t seed = 0; seed < 50; ++seed) {
    Random random(seed, "union");
    float outs[kParts];
    float lses[kParts];
    double total_weight = 0.0;
    double total = 0.0;
    for (int part = 0; part < kParts; ++part) {
      double weight_sum = 0.0;
      double sum = 0.0;
      for (int key = 0; key < kKeysPerPart; ++key) {
        const double weight = std::exp(2.0 * random.normal() + part);
        const double value = random.normal();
        weight_sum += weight;
        sum += weight * value;
      }
      outs[part] = static_cast<float>(sum / weight_sum);
      lses[part] = static_cast<float>(std::log(weight_sum));
      total_weight += weight_sum;
      total += sum;
    }
    std::vector<AttentionState> states;
    for (int part = 0; part < kParts; ++part) {
      states.push_back({TensorView::contiguous(outs + part, DType::kFloat32, {1, 1, 1}),
                        TensorView::contiguous(lses + part, DType::kFloat32, {1, 1})});
    }
    float out = NAN;
    float lse = NAN;
    const AttentionState merged{TensorView::contiguous(&out, DType::kFloat32, {1, 1, 1}),
                                TensorView::contiguous(&lse, DType::kFloat32, {1, 1})};
    ASSERT_TRUE(merge_states(states.data(), kParts, merged).ok());
    EXPECT_NEAR(out, total / total_weight, 2e-6);
    EXPECT_NEAR(lse, std::log(total_weight), 2e-6);
  }
}

}  // namespace
}  // namespace pagoda::testing
