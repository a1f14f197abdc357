// The compiled attention kernels, as a table. cmake/KernelInstances.cmake is the list.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_LAUNCH_H_
#define PAGODA_CUDA_KERNELS_ATTENTION_LAUNCH_H_

#include <cuda_runtime_api.h>

#include "cuda/kernels/work.h"

namespace pagoda::cuda {

struct AttentionKernel {
  DType dtype;
  int32_t head_dim;  // the largest that it takes
  int32_t ctas_per_sm;
  // Once per device and kernel, before the first launch; cheap to repeat.
  cudaError_t (*prepare)();
  cudaError_t (*launch)(const AttentionParams& params, const Work& work, int32_t num_ctas,
                        cudaStream_t stream);
};

// The kernel with the smallest head_dim that holds the problem's, or null.
const AttentionKernel* find_attention_kernel(DType dtype, int32_t head_dim);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_LAUNCH_H_
