// Mistakes in the arguments of merge_states.
#include <gtest/gtest.h>

#include "core/validate.h"
#include "unit/args_mistake.h"
#include "unit/valid_problem.h"

namespace pagoda::testing {
namespace {

constexpr Device kGpu{DeviceType::kCuda, 0};
constexpr DType kBF16 = DType::kBFloat16;
constexpr DType kF32 = DType::kFloat32;

struct Merge {
  AttentionState states[2];
  AttentionState merged;
  int32_t num_states = 2;
  LseLayout layout = LseLayout::kHeadsTokens;
};
Merge valid_merge(Arena& arena) {
  Merge merge;
  for (AttentionState* state : {&merge.states[0], &merge.states[1], &merge.merged}) {
    state->out = arena.tensor(kBF16, {9, 4, 16});
    state->lse = arena.tensor(kF32, {4, 9});
  }
  return merge;
}
Status validate(const Merge& merge) {
  return validate_merge_states(merge.states, merge.num_states, merge.merged, merge.layout);
}

TEST(ValidateMergeStates, NamesEachMistake) {
  expect_args_mistakes<Merge>(
      {
          {[](Merge& m, Arena&) { m.num_states = 0; }, "num_states: got 0, wants num_states >= 1"},
          {[](Merge& m, Arena&) { m.layout = static_cast<LseLayout>(5); },
           "lse_layout: got 5, wants 0 (heads, tokens) or 1 (tokens, heads)"},
          {[](Merge& m, Arena&) { m.merged.out.data = nullptr; },
           "merged.out: got null data, wants float32, float16 or bfloat16 [num_tokens, "},
          {[](Merge& m, Arena&) { m.merged.out.stride[0] = 32; },
           "merged.out: got strides [32, 16, 1] of shape [9, 4, 16], wants elements that do not "},
          {[](Merge& m, Arena&) { m.merged.lse.shape[0] = 3; },
           "merged.lse: got shape [3, 9], wants float32 [num_q_heads=4, num_tokens=9]"},
          {[](Merge& m, Arena&) { m.states[0].out.dtype = DType::kInt8; },
           "states[0].out: got dtype int8, wants float32, float16 or bfloat16 [num_tokens=9, "},
          {[](Merge& m, Arena&) { m.merged.out.dtype = DType::kFloat8E4M3; },
           "merged.out: got dtype float8_e4m3, wants float32, float16 or bfloat16 [num_tokens, "},
          {[](Merge& m, Arena&) { m.states[1].out.shape[1] = 3; },
           "states[1].out: got shape [9, 3, 16], wants float32, float16 or bfloat16 [num_tokens=9"},
          {[](Merge& m, Arena&) { m.states[1].lse.data = nullptr; },
           "states[1].lse: got null data, wants float32 [num_q_heads=4, num_tokens=9]"},
          {[](Merge& m, Arena&) { m.layout = LseLayout::kTokensHeads; },
           "merged.lse: got shape [4, 9], wants float32 [num_tokens=9, num_q_heads=4]"},
          {[](Merge& m, Arena&) { m.states[0].lse.device = kGpu; },
           "states[0].lse: got device cuda:0, wants cpu, the device of merged.out; move it there"},
          {[](Merge& m, Arena&) { m.states[1].lse = {}; },
           "states[1].lse: got none, wants float32 [num_q_heads=4, num_tokens=9]"},
      },
      valid_merge, validate);
  EXPECT_EQ(validate_merge_states(nullptr, 2, {}, LseLayout::kHeadsTokens).message(),
            "states: got null, wants num_states states");
}

TEST(ValidateMergeStates, NamesOutputsThatLieInOneAnother) {
  const auto valid = [](Arena& arena) {
    Merge merge;
    for (AttentionState* state : {&merge.states[0], &merge.states[1], &merge.merged}) {
      state->out = arena.tensor(kF32, {9, 4, 16});
      state->lse = arena.tensor(kF32, {4, 9});
    }
    return merge;
  };
  expect_args_mistakes<Merge>(
      {
          {[](Merge& m, Arena&) { m.merged.lse.data = m.merged.out.data; },
           "merged.out: got data 0x"},
          {[](Merge& m, Arena&) { m.merged.lse.data = m.states[1].out.data; },
           "merged.lse: got data 0x"},
          {[](Merge& m, Arena&) { m.states[0].lse.data = m.merged.out.data; },
           "merged.out: got data 0x"},
      },
      valid, validate);
}

TEST(ValidateMergeStates, MergedLseIsOptionalAndInPlaceIsLegal) {
  Arena arena;
  Merge merge = valid_merge(arena);
  merge.merged.lse = {};
  EXPECT_TRUE(validate(merge).ok());
  merge.merged = merge.states[1];
  EXPECT_TRUE(validate(merge).ok());
}

}  // namespace
}  // namespace pagoda::testing
