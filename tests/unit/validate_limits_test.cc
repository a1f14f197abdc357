#include <gtest/gtest.h>

#include "core/validate.h"

namespace pagoda::testing {
namespace {

AttentionLimits valid_limits() {
  AttentionLimits limits;
  limits.max_num_tokens = 1024;
  limits.max_num_seqs = 16;
  limits.max_seqlen_k = 4096;
  limits.num_q_heads = 32;
  limits.num_kv_heads = 8;
  limits.head_dim = 128;
  return limits;
}

struct Mistake {
  void (*make)(AttentionLimits& limits);
  const char* message;
};

TEST(ValidateLimits, NamesEachMistake) {
  const Mistake mistakes[] = {
      {[](AttentionLimits& l) { l.device.type = static_cast<DeviceType>(3); },
       "device: got device type 3, wants 0 (cpu) or 1 (cuda)"},
      {[](AttentionLimits& l) { l.num_q_heads = 0; },
       "num_q_heads: got 0, wants 1 <= num_q_heads <= 65536"},
      {[](AttentionLimits& l) { l.num_kv_heads = -8; },
       "num_kv_heads: got -8, wants 1 <= num_kv_heads <= 65536"},
      {[](AttentionLimits& l) { l.num_kv_heads = 5; },
       "num_q_heads: got 32, wants a multiple of num_kv_heads=5"},
      {[](AttentionLimits& l) { l.head_dim = 100; },
       "head_dim: got 100, wants a multiple of 8, at most 256"},
      {[](AttentionLimits& l) { l.max_num_tokens = -1; },
       "max_num_tokens: got -1, wants 0 <= max_num_tokens <= 2147483647"},
      {[](AttentionLimits& l) { l.max_num_tokens = 1 << 30; },
       "max_num_tokens: got 1073741824 with num_q_heads / num_kv_heads=4, wants a product <= "
       "2147483647; cut the batch"},
      {[](AttentionLimits& l) { l.max_num_seqs = -1; },
       "max_num_seqs: got -1, wants max_num_seqs >= 0"},
      {[](AttentionLimits& l) { l.max_seqlen_k = -1; },
       "max_seqlen_k: got -1, wants max_seqlen_k >= 0"},
      {[](AttentionLimits& l) { l.split_policy = static_cast<SplitPolicy>(-1); },
       "split_policy: got -1, wants 0 (balanced) or 1 (fixed)"},
      {[](AttentionLimits& l) { l.fixed_split_keys = 65; },
       "fixed_split_keys: got 65, wants a multiple of 64, or 0 for 1024"},
      {[](AttentionLimits& l) { l.num_workers = -2; },
       "num_workers: got -2, wants num_workers >= 0"},
      {[](AttentionLimits& l) { l.kv_dtype = DType::kInt64; },
       "kv_dtype: got int64, wants float32, float16, bfloat16, float8_e4m3, float8_e5m2 or int8"},
  };
  ASSERT_TRUE(validate_limits(valid_limits()).ok());
  for (const Mistake& mistake : mistakes) {
    AttentionLimits limits = valid_limits();
    mistake.make(limits);
    const Status status = validate_limits(limits);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(), mistake.message);
  }
}

TEST(ValidateLimits, ZeroTokensAndSequencesAreLegal) {
  AttentionLimits limits = valid_limits();
  limits.max_num_tokens = 0;
  limits.max_num_seqs = 0;
  limits.max_seqlen_k = 0;
  EXPECT_TRUE(validate_limits(limits).ok());
}

TEST(ValidateExecution, WantsAFunctionAndAWorker) {
  ParallelFor pool;
  Execution execution{.parallel_for = &pool};
  EXPECT_EQ(validate_execution(execution).message(),
            "parallel_for: got a null run, wants a function; leave parallel_for null to use the "
            "library's own pool");
  pool.run = [](void*, int64_t, ParallelTask, void*) {};
  EXPECT_TRUE(validate_execution(execution).ok());
  pool.num_workers = 0;
  EXPECT_EQ(validate_execution(execution).message(),
            "parallel_for num_workers: got 0, wants parallel_for num_workers >= 1");
  EXPECT_TRUE(validate_execution({}).ok());
}

}  // namespace
}  // namespace pagoda::testing
