// The compiled prefill kernels, as a table. cmake/KernelInstances.cmake is the list.
#ifndef PAGODA_CUDA_KERNELS_PREFILL_LAUNCH_H_
#define PAGODA_CUDA_KERNELS_PREFILL_LAUNCH_H_

#include <cuda_runtime_api.h>

#include <span>

#include "cuda/kernels/work.h"
#include "cuda/query_boxes.h"

namespace pagoda::cuda {

struct PrefillKernel {
  DType dtype;        // of the products' factors, and of q, K and V
  bool converts;      // K and V are of 8 bits instead, and q may be e4m3
  bool token_scales;  // and their tokens have scales
  int32_t head_dim;   // the largest that it takes
  bool soft_cap;      // logits have one; else they have none
  int32_t tile_rows;
  int32_t threads;     // of a CTA; one CTA takes an SM
  int32_t smem_bytes;  // of a CTA
  // A kernel that converts reads boxes only of converted K and V.
  cudaError_t (*launch)(const AttentionParams& params, const Work& work, const PrefillBoxes& boxes,
                        cudaStream_t stream);
};

// By ascending head_dim.
std::span<const PrefillKernel* const> prefill_kernels();

// What 8-bit K and V are converted to: q's type. For q of 8 bits, f16, or bf16 where tokens have
// scales: V times those need not fit f16.
constexpr DType converted_dtype(DType q_dtype, bool token_scales) {
  if (q_dtype != DType::kFloat8E4M3) return q_dtype;
  return token_scales ? DType::kBFloat16 : DType::kFloat16;
}

// What a problem's kernel is chosen by.
struct PrefillNeeds {
  DType q_dtype;
  DType kv_dtype;
  bool token_scales;
  int32_t head_dim;
  bool soft_cap;
};

// The kernel with the smallest head_dim that holds the problem's, or null: there is none for f16 q
// with scales of tokens.
const PrefillKernel* find_prefill_kernel(const PrefillNeeds& needs);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PREFILL_LAUNCH_H_
