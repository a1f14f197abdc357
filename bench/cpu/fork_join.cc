// The library's pool, called as its kernels call it.
#include <array>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "cpu/thread_pool.h"
#include "micro.h"
#include "timing.h"

namespace pagoda::micro {
namespace {

using Clock = std::chrono::steady_clock;

// A task that keeps its worker busy for so long: without it the calling worker would do all tasks
// before another one comes, and nothing would be forked or joined.
constexpr std::chrono::nanoseconds kTaskTime{5000};
constexpr size_t kCalls = 2000;
constexpr size_t kCallsAfterSleep = 200;
// Longer than the pool's workers spin.
constexpr std::chrono::microseconds kIdle{500};

struct Loop {
  std::vector<int32_t> worker_of;  // by task

  static void task(void* context, int64_t index, int32_t worker) {
    const auto end = Clock::now() + kTaskTime;
    static_cast<Loop*>(context)->worker_of[static_cast<size_t>(index)] = worker;
    while (Clock::now() < end) {
    }
  }
};

struct ForkJoin {
  double median_seconds;   // beyond the time of a task
  double fastest_seconds;  // likewise
  double parallel_share;   // of the calls: each worker had one task
};

bool each_has_its_own(const std::vector<int32_t>& workers) {
  for (size_t i = 0; i < workers.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (workers[i] == workers[j]) return false;
    }
  }
  return true;
}

// Calls with as many tasks as workers. Those of which one worker did two tasks are not forks.
ForkJoin measure(const ParallelFor& pool, size_t num_calls, std::chrono::microseconds idle) {
  Loop loop{std::vector<int32_t>(static_cast<size_t>(pool.num_workers))};
  std::vector<double> seconds;
  for (size_t call = 0; call < num_calls; ++call) {
    if (idle.count() > 0) std::this_thread::sleep_for(idle);
    const tools::Stopwatch stopwatch;
    pool.run(pool.pool, pool.num_workers, Loop::task, &loop);
    const double taken = stopwatch.seconds();
    if (!each_has_its_own(loop.worker_of)) continue;
    seconds.push_back(taken - std::chrono::duration<double>(kTaskTime).count());
  }
  return {tools::median(seconds), tools::percentile(seconds, 0.0),
          static_cast<double>(seconds.size()) / static_cast<double>(num_calls)};
}

}  // namespace

void run_fork_join(const MicroOptions&, Report* report) {
  const ParallelFor& pool = cpu::default_parallel_for();
  const auto add = [&](const char* workers, const ForkJoin& result) {
    const auto report_as = [&](const char* what, const Report::Value& value) {
      report->add(
          "fork_join",
          {{"workers", workers}, {"of", what}, {"threads", std::to_string(pool.num_workers)}},
          value);
    };
    report_as("parallel", {100.0 * result.parallel_share, "% of the calls"});
    if (result.parallel_share == 0.0) return;  // nothing was forked, so nothing was measured
    report_as("median", {1e6 * result.median_seconds, "us"});
    report_as("fastest", {1e6 * result.fastest_seconds, "us"});
  };
  measure(pool, 1, {});  // starts the threads
  add("spinning", measure(pool, kCalls, {}));
  add("asleep", measure(pool, kCallsAfterSleep, kIdle));
}

}  // namespace pagoda::micro
