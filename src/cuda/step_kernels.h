// Which of the compiled kernels compute a problem.
#ifndef PAGODA_CUDA_STEP_KERNELS_H_
#define PAGODA_CUDA_STEP_KERNELS_H_

#include "core/attention_params.h"
#include "cuda/kernels/attention/launch.h"
#include "cuda/kernels/prefill/launch.h"
#include "pagoda/status.h"

namespace pagoda::cuda {

inline constexpr const char* kNoKernel =
    "head_dim: this build compiled no CUDA kernel for it and k_pages' dtype "
    "(PAGODA_CUDA_HEAD_DIMS, PAGODA_CUDA_KV_DTYPES)";

struct StepKernels {
  const AttentionKernel* attention;
  const PrefillKernel* prefill;  // null: the first takes all sequences
};

// What the CUDA backend does not compute yet.
Status check_supported(const AttentionParams& params);

// Null if there is none.
const AttentionKernel* find_kernel(const AttentionParams& params);

// Null if it does not compute this problem: it knows logits with a positive scale and perhaps a
// soft cap, interval masks, and no batch invariance.
const PrefillKernel* find_prefill(const AttentionParams& params);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_STEP_KERNELS_H_
