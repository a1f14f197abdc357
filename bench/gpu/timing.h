// Time of work in a captured graph.
#ifndef PAGODA_BENCH_GPU_TIMING_H_
#define PAGODA_BENCH_GPU_TIMING_H_

#include <cuda_runtime_api.h>

#include <functional>

namespace pagoda::bench {

// Throws with the CUDA error's text.
void check(cudaError_t error);

// Median over replays of a graph that holds `calls` calls, in microseconds per call. `enqueue(i)`
// puts call i on `stream`.
double median_microseconds(cudaStream_t stream, int calls, const std::function<void(int)>& enqueue);

}  // namespace pagoda::bench

#endif  // PAGODA_BENCH_GPU_TIMING_H_
