// What a C caller must never see: an exception, or a crash on an argument that makes no sense.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <iterator>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "api/c_convert.h"
#include "core/validate.h"
#include "pagoda/c_api.h"

namespace pagoda::testing {
namespace {

// One token, one head, one key.
class OneToken {
 public:
  OneToken() {
    pagoda_problem_init(&problem_);
    problem_.q = problem_.out = view(row_, PAGODA_FLOAT32, {1, 1, 8});
    problem_.out.data = out_;
    problem_.k_pages = problem_.v_pages = view(row_, PAGODA_FLOAT32, {1, 1, 1, 8});
    problem_.block_table = view(ints_, PAGODA_INT32, {1, 1});
    problem_.cu_seqlens_q = view(ints_, PAGODA_INT32, {2});
    problem_.seqused_k = view(ints_ + 1, PAGODA_INT32, {1});
    PagodaLimits limits;
    pagoda_limits_init(&limits);
    EXPECT_EQ(pagoda_limits_of(&problem_, nullptr, &limits), PAGODA_OK) << pagoda_last_error();
    size_t bytes = 0;
    EXPECT_EQ(pagoda_workspace_size(&limits, &bytes), PAGODA_OK) << pagoda_last_error();
    workspace_.resize(bytes / sizeof(Block) + 1);
  }

  const PagodaProblem& problem() const { return problem_; }
  PagodaStatus run_on(const PagodaParallelFor& pool) {
    PagodaExecution execution;
    pagoda_execution_init(&execution);
    execution.parallel_for = &pool;
    const PagodaWorkspace workspace{workspace_.data(), workspace_.size() * sizeof(Block)};
    return pagoda_unified_attention(&problem_, workspace, &execution);
  }

 private:
  struct alignas(64) Block {
    unsigned char bytes[64];
  };
  static PagodaTensor view(const void* data, PagodaDType dtype, std::vector<int64_t> shape) {
    return pagoda_contiguous(data, dtype, static_cast<int32_t>(shape.size()), shape.data(), {});
  }

  PagodaProblem problem_;
  float row_[8] = {};
  float out_[8] = {};
  int32_t ints_[2] = {0, 1};
  std::vector<Block> workspace_;
};

template <class Exception>
PagodaParallelFor throwing_pool() {
  return {[](void*, int64_t, PagodaParallelTask, void*) { throw Exception("thrown on purpose"); },
          nullptr, 1};
}

struct OutOfMemory : std::bad_alloc {
  explicit OutOfMemory(const char*) {}
};

TEST(CApi, ExceptionsBecomeStatuses) {
  OneToken step;
  EXPECT_EQ(step.run_on(throwing_pool<std::runtime_error>()), PAGODA_INTERNAL);
  EXPECT_STREQ(pagoda_last_error(), "an exception inside the library; please report it");
  EXPECT_EQ(step.run_on(throwing_pool<OutOfMemory>()), PAGODA_INTERNAL);
  EXPECT_STREQ(pagoda_last_error(), "out of host memory");
}

TEST(CApi, PoolsWithoutFunctionOrWorkersAreRefused) {
  OneToken step;
  PagodaParallelFor pool{nullptr, nullptr, 1};
  EXPECT_EQ(step.run_on(pool), PAGODA_INVALID_ARGUMENT);
  pool = throwing_pool<std::runtime_error>();
  pool.num_workers = 0;
  EXPECT_EQ(step.run_on(pool), PAGODA_INVALID_ARGUMENT);
  EXPECT_STREQ(pagoda_last_error(),
               "parallel_for num_workers: got 0, wants parallel_for num_workers >= 1");
}

// Structs in which random fields hold odd values.
class Spoiler {
 public:
  template <class T>
  T spoil(T value) {
    for (uint64_t i = random_() % 3 + 1; i > 0; --i) {
      const bool wide = random_() % 2 == 0;
      const size_t width = wide ? 8 : 4;
      const size_t at = random_() % (sizeof(T) / width) * width;
      if (has_size(value) && at < sizeof(size_t)) continue;
      constexpr int64_t kValues[] = {-1,
                                     0,
                                     1,
                                     2,
                                     3,
                                     8,
                                     255,
                                     1 << 16,
                                     INT32_MAX,
                                     INT32_MIN,
                                     int64_t{1} << 32,
                                     INT64_MAX,
                                     INT64_MIN,
                                     INT64_MAX / 2,
                                     int64_t{1} << 59};
      const int64_t field = kValues[random_() % std::size(kValues)];
      const auto narrow = static_cast<int32_t>(field);
      std::memcpy(reinterpret_cast<char*>(&value) + at,
                  wide ? static_cast<const void*>(&field) : &narrow, width);
    }
    return value;
  }

 private:
  template <class T>
  static constexpr bool has_size(const T&) {
    return requires(T t) {
      t.struct_size;
    };
  }

  std::mt19937_64 random_{1};
};

// Spoils `base` many times; check(spoiled) is a Status, and all that can go wrong with it is that
// it is one of a bug. Under sanitizers this also finds arithmetic that overflows.
template <class T, class Check>
void expect_checks_hold(const T& base, Check&& check) {
  constexpr int kRounds = 20000;
  ASSERT_TRUE(check(base).ok()) << check(base).message();
  Spoiler spoiler;
  int num_taken = 0;
  for (int round = 0; round < kRounds; ++round) {
    const Status status = check(spoiler.spoil(base));
    num_taken += status.ok();
    ASSERT_NE(status.code(), StatusCode::kInternal) << status.message();
    ASSERT_EQ(status.ok(), status.message().empty());
  }
  EXPECT_GT(num_taken, 0);
  EXPECT_LT(num_taken, kRounds);
}

Status status_of(PagodaStatus code) {
  return {static_cast<StatusCode>(code), pagoda_last_error()};
}

TEST(CApi, NoFieldOfAProblemCanMakeTheChecksFail) {
  const OneToken step;
  expect_checks_hold(step.problem(),
                     [](const PagodaProblem& p) { return status_of(pagoda_supported(&p)); });
}

TEST(CApi, LimitsOfNoProblemFail) {
  const OneToken step;
  Spoiler spoiler;
  for (int round = 0; round < 20000; ++round) {
    const PagodaProblem problem = spoiler.spoil(step.problem());
    PagodaLimits limits;
    pagoda_limits_init(&limits);
    ASSERT_EQ(pagoda_limits_of(&problem, nullptr, &limits), PAGODA_OK) << pagoda_last_error();
  }
}

TEST(CApi, NoFieldOfLimitsCanMakeTheChecksFail) {
  const OneToken step;
  PagodaLimits limits;
  pagoda_limits_init(&limits);
  ASSERT_EQ(pagoda_limits_of(&step.problem(), nullptr, &limits), PAGODA_OK);
  expect_checks_hold(limits, [](const PagodaLimits& l) {
    size_t bytes = 0;
    return status_of(pagoda_workspace_size(&l, &bytes));
  });
}

// On a device, whose memory no check can read; and only checked, since what passes may name memory
// that is not there.
class DeviceTensors {
 public:
  PagodaTensor make(PagodaDType dtype, std::vector<int64_t> shape) {
    next_ += 1 << 20;
    return pagoda_contiguous(reinterpret_cast<void*>(next_), dtype,
                             static_cast<int32_t>(shape.size()), shape.data(), {PAGODA_CUDA, 0});
  }

 private:
  uintptr_t next_ = 0;
};

TEST(CApi, NoFieldOfAWriteCanMakeTheChecksFail) {
  DeviceTensors device;
  PagodaWriteKvCache args;
  pagoda_write_kv_cache_init(&args);
  args.k = device.make(PAGODA_FLOAT16, {3, 2, 16});
  args.v = device.make(PAGODA_FLOAT16, {3, 2, 16});
  args.k_pages = device.make(PAGODA_FLOAT8_E4M3, {4, 8, 2, 16});
  args.v_pages = device.make(PAGODA_FLOAT8_E4M3, {4, 8, 2, 16});
  args.slot_mapping = device.make(PAGODA_INT64, {3});
  args.k_token_scale = device.make(PAGODA_FLOAT32, {4, 8, 2});
  args.v_token_scale = device.make(PAGODA_FLOAT32, {4, 8, 2});
  args.rope_cos_sin = device.make(PAGODA_FLOAT32, {100, 8});
  args.rope_positions = device.make(PAGODA_INT64, {3});
  args.rope_q = device.make(PAGODA_FLOAT16, {3, 4, 16});
  args.checked = 1;
  expect_checks_hold(
      args, [](const PagodaWriteKvCache& a) { return validate_write_kv_cache(to_cpp(a)); });
}

TEST(CApi, NoFieldOfAGatherCanMakeTheChecksFail) {
  DeviceTensors device;
  PagodaGatherKvCache args;
  pagoda_gather_kv_cache_init(&args);
  args.k_pages = device.make(PAGODA_FLOAT8_E5M2, {4, 8, 2, 16});
  args.v_pages = device.make(PAGODA_FLOAT8_E5M2, {4, 8, 2, 16});
  args.block_table = device.make(PAGODA_INT32, {2, 2});
  args.k_scale = device.make(PAGODA_FLOAT32, {2, 2});
  args.v_scale = device.make(PAGODA_FLOAT32, {2});
  args.cu_seqlens_k = device.make(PAGODA_INT32, {3});
  args.seq_starts = device.make(PAGODA_INT32, {2});
  args.k_out = device.make(PAGODA_BFLOAT16, {9, 2, 16});
  args.v_out = device.make(PAGODA_BFLOAT16, {9, 2, 16});
  args.checked = 1;
  expect_checks_hold(
      args, [](const PagodaGatherKvCache& a) { return validate_gather_kv_cache(to_cpp(a)); });
}

TEST(CApi, NoFieldOfACopyCanMakeTheChecksFail) {
  DeviceTensors device;
  PagodaCopyPages args;
  pagoda_copy_pages_init(&args);
  args.source = device.make(PAGODA_INT8, {4, 8, 2, 16});
  args.destination = device.make(PAGODA_INT8, {5, 8, 2, 16});
  args.page_pairs = device.make(PAGODA_INT64, {3, 2});
  expect_checks_hold(args, [](const PagodaCopyPages& a) {
    return validate_copy_pages(to_cpp(a), /*across_devices=*/false);
  });
  args.page_pairs.device = {PAGODA_CPU, 0};
  expect_checks_hold(args, [](PagodaCopyPages a) {
    a.checked = 0;  // on the host, pairs are read
    return validate_copy_pages(to_cpp(a), /*across_devices=*/true);
  });
}

TEST(CApi, NoFieldOfAMergeCanMakeTheChecksFail) {
  struct Merge {
    PagodaState states[2];
    PagodaState merged;
    int32_t layout;
  };
  DeviceTensors device;
  Merge merge{};
  for (PagodaState* state : {&merge.states[0], &merge.states[1], &merge.merged}) {
    state->out = device.make(PAGODA_BFLOAT16, {3, 4, 16});
    state->lse = device.make(PAGODA_FLOAT32, {4, 3});
  }
  merge.layout = PAGODA_LSE_HEADS_TOKENS;
  expect_checks_hold(merge, [](const Merge& m) {
    const AttentionState states[] = {to_cpp(m.states[0]), to_cpp(m.states[1])};
    return validate_merge_states(states, 2, to_cpp(m.merged), static_cast<LseLayout>(m.layout));
  });
}

TEST(CApi, InitFunctionsTakeNull) {
  pagoda_execution_init(nullptr);
  pagoda_problem_init(nullptr);
  pagoda_limits_init(nullptr);
  pagoda_explanation_init(nullptr);
  pagoda_make_kv_cache_init(nullptr);
  pagoda_write_kv_cache_init(nullptr);
  pagoda_gather_kv_cache_init(nullptr);
  pagoda_copy_pages_init(nullptr);
}

TEST(CApi, TensorsWithoutAShapeAreRefused) {
  OneToken step;
  PagodaProblem problem = step.problem();
  problem.q = pagoda_contiguous(problem.q.data, PAGODA_FLOAT32, 3, nullptr, {});
  EXPECT_EQ(pagoda_supported(&problem), PAGODA_INVALID_ARGUMENT);
  EXPECT_EQ(std::string(pagoda_last_error()).find("q: got shape of rank -1, wants "), 0u)
      << pagoda_last_error();
  EXPECT_EQ(pagoda_contiguous(nullptr, PAGODA_FLOAT32, 0, nullptr, {}).rank, 0);
}

}  // namespace
}  // namespace pagoda::testing
