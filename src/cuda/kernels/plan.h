// The planner on the device.
#ifndef PAGODA_CUDA_KERNELS_PLAN_H_
#define PAGODA_CUDA_KERNELS_PLAN_H_

#include <cuda_runtime_api.h>

#include "cuda/kernels/work.h"

namespace pagoda::cuda {

// Fills every work's bounds as share_bound() says, from lengths in device memory.
cudaError_t launch_plan_kernel(const AttentionParams& params, const Works& works,
                               cudaStream_t stream);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PLAN_H_
