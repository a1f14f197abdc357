// How fast this machine reads memory and multiplies: what ceilings are made of. Also measured, one
// by one, by bench/cpu.
#ifndef PAGODA_TOOLS_PAGODA_RATES_H_
#define PAGODA_TOOLS_PAGODA_RATES_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "fma_chains.h"
#include "host_memory.h"
#include "timing.h"

namespace pagoda::tools {

// Runs task(thread) on `num_threads` threads at once; returns the seconds until all are done.
template <class Task>
double run_on_threads(int32_t num_threads, Task task) {
  std::vector<std::thread> threads;
  std::atomic<bool> go = false;
  for (int32_t i = 0; i < num_threads; ++i) {
    threads.emplace_back([&, i] {
      go.wait(false);
      task(i);
    });
  }
  const Stopwatch stopwatch;
  go = true;
  go.notify_all();
  for (std::thread& thread : threads) thread.join();
  return stopwatch.seconds();
}

// On a shared machine the fastest pass is the one that was least disturbed.
template <class Pass>
double fastest_pass(double min_seconds, Pass pass) {
  double fastest = pass();
  const Stopwatch stopwatch;
  do {
    fastest = std::min(fastest, pass());
  } while (stopwatch.seconds() < min_seconds);
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

  double bytes_per_second(int32_t num_threads, double min_seconds) const;

 private:
  HostBuffer buffer_;
};

// Multiply-adds in registers.
double flops_per_second(const FmaChains& chains, int32_t num_threads, double min_seconds);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_RATES_H_
