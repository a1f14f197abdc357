// How long a planned step takes on an H200: at least, and by a model of the kernels.
#ifndef PAGODA_CUDA_STEP_TIME_H_
#define PAGODA_CUDA_STEP_TIME_H_

#include "cuda/work_summary.h"

namespace pagoda::cuda {

// Of attention(), in a graph, without the plan. Other devices differ; 0 of a step without work.
struct StepTime {
  double roof_seconds = 0.0;       // if memory or tensor cores were never idle
  double predicted_seconds = 0.0;  // that the worker with most to do ends
};

// `kernel_head_dim`: what the kernels compute; the problem's may be smaller.
StepTime step_time(const AttentionParams& params, const StepSummary& step, int32_t kernel_head_dim);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_STEP_TIME_H_
