// What a valid problem becomes: defaults resolved, strides laid out, legal edges taken.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/paged_kv.h"
#include "core/validate.h"
#include "unit/valid_problem.h"

namespace pagoda::testing {
namespace {

AttentionParams params_of(const AttentionProblem& problem, ProblemUse use = ProblemUse::kCompute) {
  AttentionParams params;
  const Status status = make_attention_params(problem, use, &params);
  EXPECT_TRUE(status.ok()) << status.message();
  return params;
}

bool is_valid(const AttentionProblem& problem, ProblemUse use = ProblemUse::kCompute) {
  AttentionParams params;
  return make_attention_params(problem, use, &params).ok();
}

TEST(AttentionParams, ResolvesDefaults) {
  const ValidProblem valid;
  const AttentionParams params = params_of(valid.problem);
  EXPECT_EQ(params.max_seqlen_q, 9);
  EXPECT_EQ(params.max_seqlen_k, 12);
  EXPECT_FLOAT_EQ(params.score.softmax_scale, 0.25f);
  EXPECT_EQ(params.fixed_split_keys, 1024);
  EXPECT_EQ(params.mask.window_left, -1);
  EXPECT_EQ(params.mask.window_right, -1);
  EXPECT_EQ(params.mask.prefix_window_left, -1);
  EXPECT_TRUE(params.mask.causal);
  EXPECT_FALSE(params.checked);
}

TEST(AttentionParams, KeepsWhatIsGiven) {
  ValidProblem valid;
  valid.problem.max_seqlen_q = 4;
  valid.problem.max_seqlen_k = 100;
  valid.problem.softmax_scale = 0.5f;
  valid.problem.logits_soft_cap = 30.0f;
  valid.problem.split_policy = SplitPolicy::kFixed;
  valid.problem.fixed_split_keys = 128;
  valid.problem.checked = true;
  valid.problem.mask.causal = false;
  valid.problem.mask.window_left = 7;
  valid.problem.mask.window_right = 3;
  valid.problem.mask.chunk_size = 5;
  valid.problem.mask.chunk_lookback = 2;
  const AttentionParams params = params_of(valid.problem);
  EXPECT_EQ(params.max_seqlen_q, 4);
  EXPECT_EQ(params.max_seqlen_k, 100);
  EXPECT_EQ(params.score.softmax_scale, 0.5f);
  EXPECT_EQ(params.score.logits_soft_cap, 30.0f);
  EXPECT_EQ(params.split_policy, SplitPolicy::kFixed);
  EXPECT_EQ(params.fixed_split_keys, 128);
  EXPECT_TRUE(params.checked);
  EXPECT_FALSE(params.mask.causal);
  EXPECT_EQ(params.mask.window_left, 7);
  EXPECT_EQ(params.mask.window_right, 3);
  EXPECT_EQ(params.mask.chunk_size, 5);
  EXPECT_EQ(params.mask.chunk_lookback, 2);
}

TEST(AttentionParams, LaysOutSizesAndStrides) {
  ValidProblem valid;
  AttentionProblem& problem = valid.problem;
  problem.kv.v_pages.stride[0] = 1000;
  const AttentionParams params = params_of(problem);
  EXPECT_EQ(params.num_tokens, 9);
  EXPECT_EQ(params.num_seqs, 3);
  EXPECT_EQ(params.num_q_heads, 4);
  EXPECT_EQ(params.num_kv_heads, 2);
  EXPECT_EQ(params.group, 2);
  EXPECT_EQ(params.head_dim, 16);
  EXPECT_EQ(params.q.data, problem.q.data);
  EXPECT_EQ(params.q.token_stride, 64);
  EXPECT_EQ(params.q.head_stride, 16);
  EXPECT_EQ(params.out.data, problem.out.data);
  EXPECT_EQ(params.out.dtype, DType::kBFloat16);
  EXPECT_EQ(params.lse, problem.lse.data);
  EXPECT_EQ(params.lse_head_stride, 9);
  EXPECT_EQ(params.lse_token_stride, 1);
  EXPECT_EQ(params.kv.num_pages, 8);
  EXPECT_EQ(params.kv.page_size, 4);
  EXPECT_EQ(params.kv.k.page_stride, 128);
  EXPECT_EQ(params.kv.k.token_stride, 32);
  EXPECT_EQ(params.kv.k.head_stride, 16);
  EXPECT_EQ(params.kv.v.page_stride, 1000);
  EXPECT_EQ(params.kv.block_table.table, problem.kv.block_table.data);
  EXPECT_EQ(params.kv.block_table.row_stride, 3);
  EXPECT_EQ(params.kv.block_table.max_pages, 3);
  EXPECT_EQ(params.cu_seqlens_q, problem.cu_seqlens_q.data);
  EXPECT_EQ(params.seqused_k, problem.seqused_k.data);
}

TEST(AttentionParams, LaysOutOptionalTensors) {
  ValidProblem valid;
  AttentionProblem& problem = valid.problem;
  problem.lse = valid.arena.tensor(DType::kFloat32, {9, 4});
  problem.lse_layout = LseLayout::kTokensHeads;
  problem.alibi_slopes = valid.arena.floats({1, 2, 3, 4});
  problem.alibi_sqrt = true;
  problem.sinks = valid.arena.tensor(DType::kFloat16, {4});
  problem.bias = valid.arena.tensor(DType::kFloat32, {3, 4, 5});
  problem.mask.causal_per_seq = valid.arena.tensor(DType::kUInt8, {3});
  problem.mask.prefix_lens = valid.arena.ints({0, 1, 2});
  problem.mask.prefix_window_left = 6;
  problem.mask.tree_words = valid.arena.tensor(DType::kInt64, {9});
  problem.mask.tree_words.stride[0] = 0;
  problem.mask.bidirectional_ranges = valid.arena.tensor(DType::kInt32, {3, 7, 2});
  problem.mask.window_left = 2;
  problem.mask.clamp_ranges_to_window_left = true;
  const AttentionParams params = params_of(problem);
  EXPECT_EQ(params.lse_token_stride, 4);
  EXPECT_EQ(params.lse_head_stride, 1);
  EXPECT_EQ(params.score.alibi_slopes, problem.alibi_slopes.data);
  EXPECT_EQ(params.score.alibi_slopes_stride, 1);
  EXPECT_TRUE(params.score.alibi_sqrt);
  EXPECT_EQ(params.score.sinks, problem.sinks.data);
  EXPECT_EQ(params.score.sinks_dtype, DType::kFloat16);
  EXPECT_EQ(params.score.bias, problem.bias.data);
  EXPECT_EQ(params.score.bias_seq_stride, 20);
  EXPECT_EQ(params.score.bias_row_stride, 5);
  EXPECT_EQ(params.score.bias_column_stride, 1);
  EXPECT_EQ(params.score.bias_rows, 4);
  EXPECT_EQ(params.score.bias_columns, 5);
  EXPECT_EQ(params.mask.causal_per_seq, problem.mask.causal_per_seq.data);
  EXPECT_EQ(params.mask.prefix_lens, problem.mask.prefix_lens.data);
  EXPECT_EQ(params.mask.prefix_window_left, 6);
  EXPECT_EQ(params.mask.tree_words, problem.mask.tree_words.data);
  EXPECT_EQ(params.mask.tree_words_stride, 0);
  EXPECT_EQ(params.mask.bidirectional_ranges, problem.mask.bidirectional_ranges.data);
  EXPECT_EQ(params.mask.max_ranges, 7);
  EXPECT_TRUE(params.mask.clamp_ranges_to_window_left);
}

TEST(AttentionParams, OneBiasForAllSequencesHasNoSequenceStride) {
  ValidProblem valid;
  valid.problem.bias = valid.arena.tensor(DType::kFloat32, {4, 5});
  const AttentionParams params = params_of(valid.problem);
  EXPECT_EQ(params.score.bias_seq_stride, 0);
  EXPECT_EQ(params.score.bias_rows, 4);
  EXPECT_EQ(params.score.bias_columns, 5);
}

TEST(AttentionParams, ReadsScalesOfEachShape) {
  ValidProblem valid(DType::kFloat8E4M3, DType::kFloat8E5M2);
  valid.problem.q_scale = valid.arena.floats({5});
  valid.problem.kv.k_scale = valid.arena.floats({1, 2});
  valid.problem.kv.v_scale = reshaped(valid.arena.floats({10, 11, 20, 21, 30, 31}), {3, 2});
  valid.problem.out.dtype = DType::kFloat8E4M3;
  valid.problem.out_scale = reshaped(valid.arena.floats({0.5f}), {});
  const AttentionParams params = params_of(valid.problem);
  for (int32_t seq = 0; seq < 3; ++seq) {
    for (int32_t head = 0; head < 2; ++head) {
      EXPECT_EQ(scale_of(params.q_scale, seq, head), 5.0f);
      EXPECT_EQ(scale_of(params.kv.k_scale, seq, head), 1.0f + head);
      EXPECT_EQ(scale_of(params.kv.v_scale, seq, head), 10.0f * (seq + 1) + head);
    }
  }
  EXPECT_EQ(*params.out_scale, 0.5f);
}

TEST(AttentionParams, CsrGivesTheSamePages) {
  ValidProblem valid;
  const BlockTableParams dense = params_of(valid.problem).kv.block_table;
  valid.use_csr();
  const AttentionParams params = params_of(valid.problem);
  for (int32_t seq = 0; seq < 3; ++seq) {
    const int32_t count = num_page_ids(params.kv.block_table, seq);
    for (int32_t i = 0; i < count; ++i) {
      EXPECT_EQ(page_ids(params.kv.block_table, seq)[i], page_ids(dense, seq)[i]);
    }
  }
  EXPECT_EQ(params.max_seqlen_k, 8 * 4);
}

TEST(AttentionParams, EveryPairOfTypesOfTheContract) {
  const DType floats[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16};
  for (DType q : floats) {
    for (DType kv : {q, DType::kFloat8E4M3, DType::kFloat8E5M2, DType::kInt8}) {
      for (DType out : {q, DType::kBFloat16, DType::kFloat8E4M3}) {
        ValidProblem valid(q, kv);
        valid.problem.out.dtype = out;
        EXPECT_TRUE(is_valid(valid.problem));
      }
    }
  }
  for (DType kv : {DType::kFloat8E4M3, DType::kFloat8E5M2}) {
    for (DType out : {DType::kBFloat16, DType::kFloat8E4M3}) {
      ValidProblem valid(DType::kFloat8E4M3, kv);
      valid.problem.out.dtype = out;
      valid.use_token_scales();
      EXPECT_TRUE(is_valid(valid.problem));
    }
  }
}

TEST(AttentionParams, EmptyBatchesMayHaveNullData) {
  AttentionProblem problem;
  problem.q = TensorView::contiguous(nullptr, DType::kFloat32, {0, 4, 16});
  problem.out = problem.q;
  problem.kv.k_pages = TensorView::contiguous(nullptr, DType::kFloat32, {0, 4, 2, 16});
  problem.kv.v_pages = problem.kv.k_pages;
  problem.cu_seqlens_q = TensorView::contiguous(nullptr, DType::kInt32, {1});
  problem.seqused_k = TensorView::contiguous(nullptr, DType::kInt32, {0});
  const AttentionParams params = params_of(problem);
  EXPECT_EQ(params.num_seqs, 0);
  EXPECT_EQ(params.num_tokens, 0);
  EXPECT_EQ(params.max_seqlen_k, 0);
}

TEST(AttentionParams, SequencesWithoutTokensOrPagesAreLegal) {
  ValidProblem valid;
  valid.problem.q = TensorView::contiguous(nullptr, DType::kBFloat16, {0, 4, 16});
  valid.problem.out = valid.problem.q;
  valid.problem.lse = {};
  valid.problem.kv.block_table = TensorView::contiguous(nullptr, DType::kInt32, {3, 0});
  const AttentionParams params = params_of(valid.problem);
  EXPECT_EQ(params.num_seqs, 3);
  EXPECT_EQ(num_page_ids(params.kv.block_table, 2), 0);
  EXPECT_NE(page_ids(params.kv.block_table, 2), nullptr);
}

TEST(AttentionParams, PlanNeedsNoTensorThatItDoesNotRead) {
  ValidProblem valid(DType::kFloat16, DType::kInt8);
  AttentionProblem& problem = valid.problem;
  for (TensorView* view :
       {&problem.q, &problem.out, &problem.lse, &problem.kv.k_pages, &problem.kv.v_pages,
        &problem.kv.k_token_scale, &problem.kv.v_token_scale}) {
    view->data = nullptr;
  }
  EXPECT_TRUE(is_valid(problem, ProblemUse::kPlan));
  EXPECT_FALSE(is_valid(problem, ProblemUse::kCompute));
  problem.q.shape[2] = 12;
  EXPECT_FALSE(is_valid(problem, ProblemUse::kPlan));
}

TEST(AttentionParams, StridesOfSingleExtentsAreFree) {
  ValidProblem valid;
  valid.problem.q = valid.arena.tensor(DType::kBFloat16, {9, 1, 16});
  valid.problem.q.stride[1] = -7;
  valid.problem.out = valid.arena.tensor(DType::kBFloat16, {9, 1, 16});
  valid.problem.out.stride[1] = 0;
  valid.problem.lse = {};
  valid.problem.kv.k_pages = valid.arena.tensor(DType::kBFloat16, {8, 4, 1, 16});
  valid.problem.kv.v_pages = valid.problem.kv.k_pages;
  EXPECT_TRUE(is_valid(valid.problem));
}

TEST(AttentionParams, KAndVMayBeInterleavedAndHeadsMayComeFirst) {
  ValidProblem valid;
  const TensorView both = valid.arena.tensor(DType::kBFloat16, {8, 2, 4 * 2 * 16, 1});
  TensorView k = reshaped(both, {8, 4, 2, 16});
  k.stride[0] = 2 * 2 * 4 * 16;
  k.stride[1] = 16;  // heads outside tokens
  k.stride[2] = 4 * 16;
  valid.problem.kv.k_pages = valid.problem.kv.v_pages = k;
  valid.problem.kv.v_pages.data = static_cast<char*>(both.data) + 2 * 4 * 2 * 16;
  EXPECT_TRUE(is_valid(valid.problem));
}

TEST(AttentionParams, FailureWritesNoTensor) {
  ValidProblem valid;
  AttentionProblem& problem = valid.problem;
  std::memset(problem.out.data, 0x5a, 9 * 4 * 16 * 2);
  std::memset(problem.lse.data, 0x5a, 4 * 9 * 4);
  problem.mask.window_left = -3;
  EXPECT_FALSE(is_valid(problem));
  EXPECT_FALSE(unified_attention(problem, {}).ok());
  for (size_t i = 0; i < 9 * 4 * 16 * 2; ++i) {
    ASSERT_EQ(static_cast<unsigned char*>(problem.out.data)[i], 0x5a);
  }
  for (size_t i = 0; i < 4 * 9 * 4; ++i) {
    ASSERT_EQ(static_cast<unsigned char*>(problem.lse.data)[i], 0x5a);
  }
}

}  // namespace
}  // namespace pagoda::testing
