#include "pagoda/openmp.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "step.h"

namespace pagoda::testing {
namespace {

struct Runs {
  std::vector<std::atomic<int>> of_index;
  std::vector<std::atomic<bool>> is_running;  // by worker
  std::atomic<int> faults{0};

  static void count(void* context, int64_t index, int32_t worker) {
    auto& runs = *static_cast<Runs*>(context);
    const bool in_range = worker >= 0 && worker < static_cast<int32_t>(runs.is_running.size());
    if (!in_range || runs.is_running[static_cast<size_t>(worker)].exchange(true)) {
      ++runs.faults;
      return;
    }
    ++runs.of_index[static_cast<size_t>(index)];
    runs.is_running[static_cast<size_t>(worker)] = false;
  }
};

TEST(OpenMp, RunsEachIndexOnceOnItsWorkers) {
  omp_set_num_threads(3);
  const ParallelFor pool = openmp_parallel_for();
  ASSERT_EQ(pool.num_workers, 3);
  omp_set_num_threads(5);  // must not bring workers that nobody made room for
  for (int64_t num_tasks : {0, 1, 2, 1000}) {
    Runs runs{std::vector<std::atomic<int>>(static_cast<size_t>(num_tasks)),
              std::vector<std::atomic<bool>>(3)};
    pool.run(pool.pool, num_tasks, Runs::count, &runs);
    EXPECT_EQ(runs.faults, 0);
    for (const auto& count : runs.of_index) EXPECT_EQ(count, 1);
  }
}

// Prefill, verification and a decode that is split.
TEST(OpenMp, ItsWorkersDoNotChangeABit) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    Step step({.dtype = dtype}, {{1, 0, 70}, {2, 500, 504}, {3, 2999, 3000}});
    const RowBits reference = step.run();
    for (const int num_threads : {1, 2, 3, 7}) {
      omp_set_num_threads(num_threads);
      const ParallelFor pool = openmp_parallel_for();
      for (int turn = 0; turn < 3; ++turn) {
        expect_same_bits(step.run({.parallel_for = &pool}), reference);
      }
    }
  }
}

}  // namespace
}  // namespace pagoda::testing
