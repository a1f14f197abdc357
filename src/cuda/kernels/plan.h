// The planner on the device.
#ifndef PAGODA_CUDA_KERNELS_PLAN_H_
#define PAGODA_CUDA_KERNELS_PLAN_H_

#include <cuda_runtime_api.h>

#include "cuda/kernels/work.h"

namespace pagoda::cuda {

// Makes the same lists as build_plan(), from lengths in device memory.
cudaError_t launch_plan_kernel(const PlanConfig& config, const AttentionParams& params,
                               const Work& work, cudaStream_t stream);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PLAN_H_
