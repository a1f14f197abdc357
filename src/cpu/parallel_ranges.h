// Parallel loops over many small pieces of memory.
#ifndef PAGODA_CPU_PARALLEL_RANGES_H_
#define PAGODA_CPU_PARALLEL_RANGES_H_

#include <algorithm>
#include <cstdint>

#include "core/arith.h"
#include "cpu/thread_pool.h"

namespace pagoda::cpu {

// Some 10 us of copying: far more than taking a task costs, little enough to share evenly.
constexpr int64_t kBytesPerTask = 128 * 1024;

// Calls visit(begin, end) for ranges that cover [0, count), at `bytes_each` of memory traffic.
template <class Visit>
void parallel_ranges(const Execution& execution, int64_t count, int64_t bytes_each, Visit&& visit) {
  const int64_t grain = std::max<int64_t>(1, kBytesPerTask / std::max<int64_t>(1, bytes_each));
  parallel_for(execution, ceil_div(count, grain),
               [&](int64_t i, int32_t) { visit(i * grain, std::min(count, (i + 1) * grain)); });
}

}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_PARALLEL_RANGES_H_
