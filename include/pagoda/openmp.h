// Pagoda's CPU work on the OpenMP threads of the program that includes this header; right where
// its other operators run on them too, since two pools of spinning threads disturb each other. The
// library itself is not linked to OpenMP. Declares nothing unless compiled with OpenMP.
//
//   const pagoda::ParallelFor pool = pagoda::openmp_parallel_for();
//   pagoda::attention(problem, plan, {.parallel_for = &pool});
#ifndef PAGODA_OPENMP_H_
#define PAGODA_OPENMP_H_

#if defined(_OPENMP)

#include <omp.h>

#include <cstdint>

#include "pagoda/types.h"

namespace pagoda {

// With as many workers as a parallel region of the calling thread has now.
inline ParallelFor openmp_parallel_for() {
  const auto run = [](void* pool, int64_t num_tasks, ParallelTask task, void* task_context) {
    // A workspace is sized for this many workers, whatever omp_set_num_threads() says later.
    const int num_workers = static_cast<int>(reinterpret_cast<intptr_t>(pool));
#pragma omp parallel for schedule(dynamic) num_threads(num_workers)
    for (int64_t i = 0; i < num_tasks; ++i) task(task_context, i, omp_get_thread_num());
  };
  const int num_workers = omp_get_max_threads();
  return {run, reinterpret_cast<void*>(static_cast<intptr_t>(num_workers)), num_workers};
}

}  // namespace pagoda

#endif  // defined(_OPENMP)

#endif  // PAGODA_OPENMP_H_
