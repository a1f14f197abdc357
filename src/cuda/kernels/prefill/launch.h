// The compiled prefill kernels, as a table. cmake/KernelInstances.cmake is the list.
#ifndef PAGODA_CUDA_KERNELS_PREFILL_LAUNCH_H_
#define PAGODA_CUDA_KERNELS_PREFILL_LAUNCH_H_

#include <cuda_runtime_api.h>

#include <span>

#include "cuda/kernels/work.h"
#include "cuda/query_boxes.h"

namespace pagoda::cuda {

struct PrefillKernel {
  DType kv_dtype;
  int32_t head_dim;  // the largest that it takes
  bool soft_cap;     // logits have one; else they have none
  int32_t tile_rows;
  int32_t threads;     // of a CTA; one CTA takes an SM
  int32_t smem_bytes;  // of a CTA
  bool reads_boxes;    // else it may be launched without
  cudaError_t (*launch)(const AttentionParams& params, const Work& work, const PrefillBoxes& boxes,
                        cudaStream_t stream);
};

// By ascending head_dim.
std::span<const PrefillKernel* const> prefill_kernels();

// The kernel with the smallest head_dim that holds the problem's, or null.
const PrefillKernel* find_prefill_kernel(DType kv_dtype, int32_t head_dim, bool soft_cap);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PREFILL_LAUNCH_H_
