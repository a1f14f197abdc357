// The micro-benchmarks of the CPU.
#ifndef PAGODA_BENCH_CPU_MICRO_H_
#define PAGODA_BENCH_CPU_MICRO_H_

#include <cstdint>

#include "report.h"

namespace pagoda::micro {

struct MicroOptions {
  int32_t max_threads = 1;
  double min_seconds = 0.2;  // of each measurement
  int64_t megabytes = 1024;  // of pages that are read
};

// 1, 2, 4, ... and max_threads.
template <class Function>
void for_each_thread_count(int32_t max_threads, Function function) {
  for (int32_t count = 1; count < max_threads; count *= 2) function(count);
  function(max_threads);
}

// Pages of a KV cache in random order, by page size, order of traversal, prefetching, huge pages
// and threads.
void run_page_read(const MicroOptions& options, Report* report);

// What starting and joining a parallel loop costs in the library's pool of max_threads workers.
void run_fork_join(const MicroOptions& options, Report* report);

}  // namespace pagoda::micro

#endif  // PAGODA_BENCH_CPU_MICRO_H_
