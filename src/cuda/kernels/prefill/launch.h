// The compiled prefill kernels, as a table. cmake/KernelInstances.cmake is the list.
#ifndef PAGODA_CUDA_KERNELS_PREFILL_LAUNCH_H_
#define PAGODA_CUDA_KERNELS_PREFILL_LAUNCH_H_

#include <cuda_runtime_api.h>

#include <span>

#include "cuda/kernels/work.h"
#include "cuda/query_boxes.h"

namespace pagoda::cuda {

struct PrefillKernel {
  DType dtype;       // of the products' factors, and of q, K and V
  bool converts;     // K and V are fp8 instead, and q may be e4m3
  int32_t head_dim;  // the largest that it takes
  bool soft_cap;     // logits have one; else they have none
  int32_t tile_rows;
  int32_t threads;     // of a CTA; one CTA takes an SM
  int32_t smem_bytes;  // of a CTA
  // A kernel that converts reads boxes only of converted K and V.
  cudaError_t (*launch)(const AttentionParams& params, const Work& work, const PrefillBoxes& boxes,
                        cudaStream_t stream);
};

// By ascending head_dim.
std::span<const PrefillKernel* const> prefill_kernels();

// What 8-bit K and V are converted to: q's type, or f16 for q of 8 bits.
constexpr DType converted_dtype(DType q_dtype) {
  return q_dtype == DType::kBFloat16 ? DType::kBFloat16 : DType::kFloat16;
}

// The kernel with the smallest head_dim that holds the problem's, or null.
const PrefillKernel* find_prefill_kernel(DType q_dtype, DType kv_dtype, int32_t head_dim,
                                         bool soft_cap);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PREFILL_LAUNCH_H_
