// The library's own thread pool, for callers that bring none.
#ifndef PAGODA_CPU_THREAD_POOL_H_
#define PAGODA_CPU_THREAD_POOL_H_

#include <cstdint>
#include <string>
#include <type_traits>

#include "pagoda/types.h"

namespace pagoda::cpu {

// Made on first use and sized from the process's CPU affinity, the cgroup's CPU quota and
// PAGODA_NUM_THREADS. Idle workers spin briefly, then sleep. Two threads may call at once: the
// second waits for nothing but runs its own tasks on its own thread.
const ParallelFor& default_parallel_for();

// Empty, or why the pool has not the size that PAGODA_NUM_THREADS asks for. Calls that plan for the
// pool fail with it.
const std::string& default_pool_error();

// The caller's, or else the library's own.
inline const ParallelFor& pool_of(const Execution& execution) {
  return execution.parallel_for != nullptr ? *execution.parallel_for : default_parallel_for();
}

// Runs task(i, worker) for i in [0, num_tasks) on pool_of(execution).
template <class Task>
void parallel_for(const Execution& execution, int64_t num_tasks, Task&& task) {
  if (num_tasks <= 0) return;
  const ParallelFor& pool = pool_of(execution);
  const ParallelTask call = [](void* context, int64_t index, int32_t worker) {
    (*static_cast<std::remove_reference_t<Task>*>(context))(index, worker);
  };
  pool.run(pool.pool, num_tasks, call, &task);
}

}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_THREAD_POOL_H_
