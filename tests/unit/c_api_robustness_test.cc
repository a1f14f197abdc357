// What a C caller must never see: an exception, or a crash on an argument that makes no sense.
#include <gtest/gtest.h>

#include <cstring>
#include <new>
#include <random>
#include <stdexcept>
#include <vector>

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
}

// Under sanitizers this also finds arithmetic that overflows.
TEST(CApi, NoFieldCanMakeTheChecksFail) {
  const OneToken step;
  std::mt19937_64 random(1);
  const int64_t values[] = {-1,
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
  int num_taken = 0;
  for (int round = 0; round < 20000; ++round) {
    PagodaProblem problem = step.problem();
    for (uint64_t i = 0; i <= random() % 3; ++i) {
      constexpr size_t kFirst = sizeof(problem.struct_size);
      const bool wide = random() % 2 == 0;
      const size_t width = wide ? 8 : 4;
      const size_t at = kFirst + random() % ((sizeof(problem) - kFirst) / width) * width;
      const int64_t value = values[random() % std::size(values)];
      const auto narrow = static_cast<int32_t>(value);
      std::memcpy(reinterpret_cast<char*>(&problem) + at,
                  wide ? static_cast<const void*>(&value) : &narrow, width);
    }
    const PagodaStatus status = pagoda_supported(&problem);
    num_taken += status == PAGODA_OK;
    ASSERT_NE(status, PAGODA_INTERNAL) << pagoda_last_error();
    ASSERT_EQ(status == PAGODA_OK, std::strlen(pagoda_last_error()) == 0);
  }
  EXPECT_GT(num_taken, 0);
  EXPECT_LT(num_taken, 20000);
}

}  // namespace
}  // namespace pagoda::testing
