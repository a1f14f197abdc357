// The join of partial results.
#ifndef PAGODA_CUDA_KERNELS_COMBINE_H_
#define PAGODA_CUDA_KERNELS_COMBINE_H_

#include <cuda_runtime_api.h>

#include "cuda/kernels/work.h"

namespace pagoda::cuda {

// Joins the partial results of every cut unit in key order and writes its outputs; runs after the
// attention kernels, which have `head_dim` columns.
cudaError_t launch_combine_kernel(const AttentionParams& params, const Works& works,
                                  int32_t head_dim, cudaStream_t stream);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_COMBINE_H_
