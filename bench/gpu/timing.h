// Time of work in a captured graph.
#ifndef PAGODA_BENCH_GPU_TIMING_H_
#define PAGODA_BENCH_GPU_TIMING_H_

#include <cuda_runtime_api.h>

#include <functional>

#include "pagoda/status.h"

namespace pagoda::bench {

// Throw with the error's text.
void check(cudaError_t error);
void require(const Status& status);

// Median over replays of a graph that holds `calls` calls, in microseconds per call. `enqueue(i)`
// puts call i on `stream`.
double median_microseconds(cudaStream_t stream, int calls, const std::function<void(int)>& enqueue);

// Median, in microseconds per call, of the time that the calling thread spends in enqueue(), by
// `calls` calls at a time, which have to fit in the driver's queue.
double median_host_microseconds(cudaStream_t stream, int calls,
                                const std::function<void(int)>& enqueue);

}  // namespace pagoda::bench

#endif  // PAGODA_BENCH_GPU_TIMING_H_
