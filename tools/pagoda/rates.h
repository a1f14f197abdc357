// How fast this machine reads memory and multiplies: what ceilings are made of. Also measured, one
// by one, by bench/cpu.
#ifndef PAGODA_TOOLS_PAGODA_RATES_H_
#define PAGODA_TOOLS_PAGODA_RATES_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <thread>
#include <vector>

#include "fma_chains.h"
#include "host_memory.h"
#include "timing.h"

namespace pagoda::tools {

struct Pass {
  double seconds = 0.0;    // until all threads are done
  double cpu_share = 0.0;  // of that, all threads: less than 1 if others wanted the CPUs too
};

struct Rate {
  double per_second = 0.0;
  double cpu_share = 0.0;  // of the pass that it is of
};

// Of the calling thread, on a CPU.
double thread_cpu_seconds();

// Runs task(thread) on `num_threads` threads at once.
template <class Task>
Pass run_on_threads(int32_t num_threads, Task task) {
  std::vector<std::thread> threads;
  std::vector<double> cpu_seconds(static_cast<size_t>(num_threads));
  std::atomic<bool> go = false;
  for (int32_t i = 0; i < num_threads; ++i) {
    threads.emplace_back([&, i] {
      go.wait(false);
      const double before = thread_cpu_seconds();
      task(i);
      cpu_seconds[static_cast<size_t>(i)] = thread_cpu_seconds() - before;
    });
  }
  const Stopwatch stopwatch;
  go = true;
  go.notify_all();
  for (std::thread& thread : threads) thread.join();
  const double seconds = stopwatch.seconds();
  const double on_cpu = std::accumulate(cpu_seconds.begin(), cpu_seconds.end(), 0.0);
  return {seconds, on_cpu / seconds / num_threads};
}

// On a shared machine the fastest pass is the one that was least disturbed. At least three.
template <class RunPass>
Pass fastest_pass(double min_seconds, RunPass run_pass) {
  constexpr int kMinPasses = 3;
  const Stopwatch stopwatch;
  Pass fastest = run_pass();
  for (int i = 1; i < kMinPasses || stopwatch.seconds() < min_seconds; ++i) {
    const Pass pass = run_pass();
    if (pass.seconds < fastest.seconds) fastest = pass;
  }
  return fastest;
}

// Something that depends on every byte of [begin, begin + bytes), `bytes` a multiple of
// kReadStepBytes. At the same distance from `ahead`, if that is not null, lines are fetched into
// the second-level cache.
constexpr size_t kReadStepBytes = 128;
inline uint64_t read_bytes(const std::byte* begin, size_t bytes, const std::byte* ahead = nullptr) {
  typedef uint64_t Part __attribute__((vector_size(16), aligned(8), may_alias));
  // As many sums as it takes for none of them to be waited for.
  constexpr size_t kParts = kReadStepBytes / sizeof(Part);
  constexpr size_t kLineBytes = 64;
  Part sum[kParts] = {};
  for (size_t i = 0; i + kReadStepBytes <= bytes; i += kReadStepBytes) {
    if (ahead != nullptr) {
      __builtin_prefetch(ahead + i, 0, /*locality: second level*/ 2);
      __builtin_prefetch(ahead + i + kLineBytes, 0, 2);
    }
    for (size_t j = 0; j < kParts; ++j) {
      sum[j] ^= *reinterpret_cast<const Part*>(begin + i + j * sizeof(Part));
    }
  }
  uint64_t result = 0;
  for (const Part& part : sum) result ^= part[0] ^ part[1];
  return result;
}

// Memory much larger than the caches, read from its beginning to its end.
class SequentialRead {
 public:
  explicit SequentialRead(HugePages huge_pages = HugePages::kAdvised);

  Rate bytes_per_second(int32_t num_threads, double min_seconds) const;

 private:
  HostBuffer buffer_;
};

// Multiply-adds in registers.
Rate flops_per_second(const FmaChains& chains, int32_t num_threads, double min_seconds);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_RATES_H_
