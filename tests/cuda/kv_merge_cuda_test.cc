// merge_states on the GPU against the naive one: exponentials differ from the CPU's in last bits.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "cuda/arena.h"
#include "cuda/kv_cases.h"
#include "oracle_formats.h"
#include "pagoda/kv_cache.h"

namespace pagoda::testing {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

class RandomMerge {
 public:
  explicit RandomMerge(uint32_t seed) : random_(seed, "merge on cuda") {
    num_states_ = random_.pick(std::vector<int32_t>{1, 2, 2, 3, 4, 5, 8, 9, 30, 64, 100});
    num_tokens_ = random_.pick(num_states_ < 10 ? std::vector<int64_t>{1, 3, 17, 64}
                                                : std::vector<int64_t>{1, 3});
    num_heads_ = random_.pick(std::vector<int64_t>{1, 2, 5, 8});
    head_dim_ = random_.pick(kHeadDims);
    layout_ = random_.chance(0.5) ? LseLayout::kHeadsTokens : LseLayout::kTokensHeads;
    const bool is_mixed = random_.chance(0.15);
    const DType dtype = random_.pick(kWideTypes);
    for (int32_t i = 0; i < num_states_; ++i) {
      states_.push_back(make_state(is_mixed ? random_.pick(kWideTypes) : dtype));
    }
    make_odd(random_.pick(std::vector<double>{0.0, 0.0, 0.1, 0.6}));
    const int32_t into =
        random_.chance(0.3) ? static_cast<int32_t>(random_.below(num_states_)) : -1;
    merged_ = into >= 0 ? states_[static_cast<size_t>(into)] : make_state(random_.pick(kWideTypes));
    if (random_.chance(0.2)) merged_.lse = {};
  }

  std::string describe() const {
    return "states " + std::to_string(num_states_) + " tokens " + std::to_string(num_tokens_) +
           " heads " + std::to_string(num_heads_) + " head_dim " + std::to_string(head_dim_) +
           " dtype " + std::to_string(static_cast<int>(states_[0].out.dtype)) + " merged " +
           std::to_string(static_cast<int>(merged_.out.dtype)) + " layout " +
           std::to_string(static_cast<int>(layout_));
  }

  void run_and_check() {
    arena_.upload();
    std::vector<AttentionState> states;
    for (const AttentionState& state : states_) states.push_back(on_device(state));
    const Status status = merge_states(states.data(), num_states_, on_device(merged_), layout_);
    ASSERT_TRUE(status.ok()) << status.message();
    bytes_ = arena_.download();
    // Before host memory changes, since the merged state may be one of those that were read.
    std::vector<OracleMerge> want;
    for (int64_t row = 0; row < num_tokens_ * num_heads_; ++row) {
      want.push_back(merged_row(states_, row / num_heads_, row % num_heads_, layout_));
    }
    for (int64_t row = 0; row < num_tokens_ * num_heads_; ++row) {
      check_row(want[static_cast<size_t>(row)], row / num_heads_, row % num_heads_);
    }
    EXPECT_EQ(arena_.difference(bytes_), "") << "besides what was merged";
  }

 private:
  AttentionState make_state(DType dtype) {
    const Placement placement{
        .order = random_.chance(0.5) ? std::vector<int>{1, 0, 2} : std::vector<int>{0, 1, 2},
        .gap = random_.chance(0.2) ? 1 : 8 * random_.below(3)};
    const bool heads_first = layout_ == LseLayout::kHeadsTokens;
    AttentionState state;
    state.out = arena_.make(dtype, {num_tokens_, num_heads_, head_dim_}, placement);
    state.lse = arena_.make(
        DType::kFloat32,
        {heads_first ? num_heads_ : num_tokens_, heads_first ? num_tokens_ : num_heads_},
        {.inner_stride = random_.between(1, 2)});
    fill(state.out, [&] { return random_.normal(); });
    fill(state.lse, [&] { return 4.0 * random_.normal(); });
    return state;
  }

  // States that count for nothing hold NaN.
  void make_odd(double probability) {
    for (const AttentionState& state : states_) {
      for (int64_t row = 0; row < num_tokens_ * num_heads_; ++row) {
        if (!random_.chance(probability)) continue;
        const int64_t token = row / num_heads_;
        const int64_t head = row % num_heads_;
        *lse_at(state.lse, token, head, layout_) =
            random_.pick(std::vector<float>{kInf, -kInf, NAN});
        for (int64_t d = 0; d < head_dim_; ++d) set_element(state.out, NAN, token, head, d);
      }
    }
  }

  AttentionState on_device(const AttentionState& state) const {
    return {arena_.on_device(state.out),
            state.lse.present() ? arena_.on_device(state.lse) : TensorView{}};
  }

  // What is right goes to host memory too, so that the rest can be compared.
  void check_row(const OracleMerge& want, int64_t token, int64_t head) {
    const TensorView out = arena_.in(&bytes_, merged_.out);
    for (int64_t d = 0; d < head_dim_; ++d) {
      const void* got = element(out, token, head, d);
      const auto i = static_cast<size_t>(d);
      ASSERT_TRUE(is_rounding_of(out.dtype, got, want.out.values[i], want.out.errors[i]))
          << "token " << token << " head " << head << " channel " << d << ": got "
          << decode(out.dtype, got) << ", wants " << want.out.values[i] << " +- "
          << want.out.errors[i];
      std::memcpy(element(merged_.out, token, head, d), got, size_of(out.dtype));
    }
    if (!merged_.lse.present()) return;
    const float got = *lse_at(arena_.in(&bytes_, merged_.lse), token, head, layout_);
    if (std::isinf(want.lse)) {
      ASSERT_EQ(got, -kInf);
    } else {
      ASSERT_NEAR(got, want.lse, 3e-7 * (1.0 + std::abs(want.lse)));
    }
    *lse_at(merged_.lse, token, head, layout_) = got;
  }

  Random random_;
  Arena arena_;
  std::vector<uint8_t> bytes_;
  int32_t num_states_;
  int64_t num_tokens_;
  int64_t num_heads_;
  int64_t head_dim_;
  LseLayout layout_;
  std::vector<AttentionState> states_;
  AttentionState merged_;
};

class MergeStatesCuda : public ::testing::TestWithParam<uint32_t> {};

TEST_P(MergeStatesCuda, MatchesTheOracle) {
  PAGODA_SKIP_WITHOUT_GPU();
  RandomMerge merge(GetParam());
  SCOPED_TRACE(merge.describe());
  merge.run_and_check();
}

INSTANTIATE_TEST_SUITE_P(Random, MergeStatesCuda, ::testing::Range(0u, 400u));

TEST(MergeStatesCudaLimits, TooManyStatesAreRefused) {
  PAGODA_SKIP_WITHOUT_GPU();
  Arena arena;
  const TensorView out = arena.make(DType::kFloat32, {1, 1, 8});
  const TensorView lse = arena.make(DType::kFloat32, {1, 1});
  const TensorView merged = arena.make(DType::kFloat32, {1, 1, 8});
  arena.upload();
  const std::vector<AttentionState> states(501, {arena.on_device(out), arena.on_device(lse)});
  const Status status = merge_states(states.data(), 501, {arena.on_device(merged), {}});
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_NE(status.message().find("num_states: got 501"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace pagoda::testing
