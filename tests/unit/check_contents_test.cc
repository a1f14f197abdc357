// Checked mode: what lies in lengths, tables and token scales.
#include <gtest/gtest.h>

#include <limits>

#include "core/validate.h"
#include "cpu/backend_cpu.h"
#include "unit/valid_problem.h"

namespace pagoda::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Status contents_of(const AttentionProblem& problem) {
  AttentionParams params;
  const Status status = make_attention_params(problem, ProblemUse::kCompute, &params);
  EXPECT_TRUE(status.ok()) << status.message();
  return cpu::check_contents(params);
}

void expect_violation(const AttentionProblem& problem, const char* message) {
  const Status status = contents_of(problem);
  EXPECT_EQ(status.code(), StatusCode::kInvalidContents);
  EXPECT_EQ(status.message(), message);
}

int32_t* ints_of(const TensorView& view) {
  return static_cast<int32_t*>(view.data);
}

TEST(CheckContents, TakesAValidProblem) {
  ValidProblem valid;
  EXPECT_TRUE(contents_of(valid.problem).ok());
  valid.use_csr();
  EXPECT_TRUE(contents_of(valid.problem).ok());
}

TEST(CheckContents, NamesTheFirstBadPageId) {
  ValidProblem valid;
  ints_of(valid.problem.kv.block_table)[4] = 8;
  ints_of(valid.problem.kv.block_table)[8] = -1;
  expect_violation(valid.problem,
                   "block_table: page id out of range at (sequence 1, column 1, value 8), wants 0 "
                   "<= id < num_pages=8");
  ints_of(valid.problem.kv.block_table)[4] = 7;
  expect_violation(valid.problem,
                   "block_table: page id out of range at (sequence 2, column 2, value -1), wants 0 "
                   "<= id < num_pages=8");
}

TEST(CheckContents, PagesThatAWindowHasLeftBehindMayBeGone) {
  ValidProblem valid;
  ints_of(valid.problem.kv.block_table)[6] = -1;
  EXPECT_FALSE(contents_of(valid.problem).ok());
  valid.problem.mask.window_left = 0;
  EXPECT_TRUE(contents_of(valid.problem).ok());
}

TEST(CheckContents, FollowsTheRowStrideOfTheTable) {
  ValidProblem valid;
  valid.problem.kv.block_table =
      reshaped(valid.arena.ints({3, 1, 7, 99, 0, 2, -1, 99, 6, 5, 100, 99}), {3, 4});
  valid.problem.kv.block_table.shape[1] = 3;
  expect_violation(valid.problem,
                   "block_table: page id out of range at (sequence 2, column 2, value 100), wants "
                   "0 <= id < num_pages=8");
}

TEST(CheckContents, IgnoresEntriesPastTheSequence) {
  ValidProblem valid;
  ints_of(valid.problem.kv.block_table)[5] = 123456;
  EXPECT_TRUE(contents_of(valid.problem).ok());
}

TEST(CheckContents, IgnoresPagesOfSequencesWithoutQueries) {
  ValidProblem valid;
  valid.problem.cu_seqlens_q = valid.arena.ints({0, 4, 4, 9});
  ints_of(valid.problem.kv.block_table)[3] = -5;
  EXPECT_TRUE(contents_of(valid.problem).ok());
}

TEST(CheckContents, NamesBadPageIndices) {
  ValidProblem valid;
  valid.use_csr();
  ints_of(valid.problem.kv.page_indices)[6] = 90210;
  expect_violation(valid.problem,
                   "page_indices: page id out of range at (sequence 2, column 1, value 90210), "
                   "wants 0 <= id < num_pages=8");
}

TEST(CheckContents, NamesFallingOrOverflowingIndptr) {
  ValidProblem valid;
  valid.use_csr();
  ints_of(valid.problem.kv.page_indptr)[2] = 2;
  expect_violation(valid.problem,
                   "page_indptr: out of order at (entry 2, value 2), wants entries that never fall "
                   "(the one before is 3) and are at most num_page_entries=8");
  valid.problem.kv.page_indptr = valid.arena.ints({0, 3, 5, 9});
  expect_violation(valid.problem,
                   "page_indptr: out of order at (entry 3, value 9), wants entries that never fall "
                   "(the one before is 5) and are at most num_page_entries=8");
  valid.problem.kv.page_indptr = valid.arena.ints({-1, 3, 5, 8});
  EXPECT_EQ(contents_of(valid.problem).code(), StatusCode::kInvalidContents);
}

TEST(CheckContents, NamesCuSeqlensThatAreNoPrefixSums) {
  ValidProblem valid;
  const auto expect_at = [&](std::initializer_list<int32_t> sums, const char* place) {
    valid.problem.cu_seqlens_q = valid.arena.ints(sums);
    const Status status = contents_of(valid.problem);
    EXPECT_EQ(status.code(), StatusCode::kInvalidContents);
    EXPECT_EQ(status.message().find(std::string("cu_seqlens_q: out of order at ") + place), 0u)
        << status.message();
  };
  expect_at({1, 4, 5, 9}, "(entry 0, value 1)");
  expect_at({-1, 4, 5, 9}, "(entry 0, value -1)");
  expect_at({0, 4, 3, 9}, "(entry 2, value 3)");
  expect_at({0, 4, 5, 10}, "(entry 3, value 10)");
}

TEST(CheckContents, PaddingRowsPastTheLastSequenceAreLegal) {
  ValidProblem valid;
  valid.problem.cu_seqlens_q = valid.arena.ints({0, 4, 5, 7});
  EXPECT_TRUE(contents_of(valid.problem).ok());
}

TEST(CheckContents, NamesLengthsBeyondTheirBounds) {
  ValidProblem valid;
  valid.problem.max_seqlen_q = 3;
  expect_violation(valid.problem,
                   "cu_seqlens_q: query length out of range at (sequence 0, value 4), wants 0 <= "
                   "length <= max_seqlen_q=3");
  valid.problem.max_seqlen_q = 4;
  valid.problem.max_seqlen_k = 11;
  expect_violation(valid.problem,
                   "seqused_k: length out of range at (sequence 2, value 12), wants 0 <= length <= "
                   "max_seqlen_k=11");
  ints_of(valid.problem.seqused_k)[1] = -1;
  expect_violation(valid.problem,
                   "seqused_k: length out of range at (sequence 1, value -1), wants 0 <= length <= "
                   "max_seqlen_k=11");
}

TEST(CheckContents, NamesLengthsThatTheTableCannotHold) {
  ValidProblem valid;
  valid.problem.max_seqlen_k = 100;
  ints_of(valid.problem.seqused_k)[0] = 13;
  expect_violation(valid.problem,
                   "seqused_k: length out of range at (sequence 0, value 13), wants at most 12, "
                   "what its pages in the table hold");
  valid.use_csr();
  ints_of(valid.problem.seqused_k)[0] = 12;
  ints_of(valid.problem.seqused_k)[1] = 9;
  expect_violation(valid.problem,
                   "seqused_k: length out of range at (sequence 1, value 9), wants at most 8, what "
                   "its pages in the table hold");
}

TEST(CheckContents, NamesNegativePrefixLengths) {
  ValidProblem valid;
  valid.problem.mask.prefix_lens = valid.arena.ints({0, 3, -4});
  valid.problem.mask.prefix_window_left = 2;
  expect_violation(valid.problem,
                   "prefix_lens: length out of range at (sequence 2, value -4), wants 0 <= length");
}

TEST(CheckContents, NamesBadTokenScalesAmongThoseRead) {
  ValidProblem valid(DType::kBFloat16, DType::kInt8);
  auto* k_scales = static_cast<float*>(valid.problem.kv.k_token_scale.data);
  auto* v_scales = static_cast<float*>(valid.problem.kv.v_token_scale.data);
  k_scales[(7 * 4 + 2) * 2] = kNan;  // token 10 of sequence 0, which has 10
  EXPECT_TRUE(contents_of(valid.problem).ok());
  k_scales[(7 * 4 + 1) * 2 + 1] = kNan;
  expect_violation(valid.problem,
                   "k_token_scale: out of range at (sequence 0, token 9, kv head 1, value nan), "
                   "wants a finite number >= 0");
  k_scales[(7 * 4 + 1) * 2 + 1] = 1.0f;
  v_scales[(2 * 4 + 0) * 2] = -0.25f;
  expect_violation(valid.problem,
                   "v_token_scale: out of range at (sequence 1, token 4, kv head 0, value -0.25), "
                   "wants a finite number >= 0");
}

TEST(CheckContents, EmptyBatchesReadNothing) {
  ValidProblem valid;
  valid.problem.cu_seqlens_q = TensorView::contiguous(nullptr, DType::kInt32, {1});
  valid.problem.seqused_k = TensorView::contiguous(nullptr, DType::kInt32, {0});
  valid.problem.kv.block_table = {};
  EXPECT_TRUE(contents_of(valid.problem).ok());
}

TEST(CheckContents, CheckedCallsReportAndWriteNothing) {
  ValidProblem valid(DType::kFloat32, DType::kFloat32);
  valid.problem.checked = true;
  auto* out = static_cast<float*>(valid.problem.out.data);
  std::fill(out, out + 9 * 4 * 16, 77.0f);
  ints_of(valid.problem.kv.block_table)[0] = 8;
  alignas(64) static unsigned char workspace[1 << 20];
  const Status status = unified_attention(valid.problem, {workspace, sizeof(workspace)});
  EXPECT_EQ(status.code(), StatusCode::kInvalidContents);
  for (int i = 0; i < 9 * 4 * 16; ++i) ASSERT_EQ(out[i], 77.0f);
}

}  // namespace
}  // namespace pagoda::testing
