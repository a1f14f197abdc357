#include "cuda/kernels/attention/launch.h"
#include "cuda/kernels/prefill/launch.h"

namespace pagoda::cuda {

#define PAGODA_KERNEL(name) extern const AttentionKernel name;
#include "attention_kernels.inc"
#undef PAGODA_KERNEL
#define PAGODA_KERNEL(name) extern const PrefillKernel name;
#include "prefill_kernels.inc"
#undef PAGODA_KERNEL

const AttentionKernel* find_attention_kernel(DType dtype, int32_t head_dim, bool plain) {
  // By ascending head_dim, plain ones first.
  static constexpr const AttentionKernel* kKernels[] = {
#define PAGODA_KERNEL(name) &name,
#include "attention_kernels.inc"
#undef PAGODA_KERNEL
  };
  for (const AttentionKernel* kernel : kKernels) {
    const bool has_features = plain || !kernel->plain;
    if (kernel->dtype == dtype && kernel->head_dim >= head_dim && has_features) return kernel;
  }
  return nullptr;
}

const PrefillKernel* find_prefill_kernel(DType dtype, int32_t head_dim) {
  // By ascending head_dim; a null, for a build may have none.
  static constexpr const PrefillKernel* kKernels[] = {
#define PAGODA_KERNEL(name) &name,
#include "prefill_kernels.inc"
#undef PAGODA_KERNEL
      nullptr,
  };
  for (const PrefillKernel* kernel : kKernels) {
    if (kernel != nullptr && kernel->dtype == dtype && kernel->head_dim >= head_dim) return kernel;
  }
  return nullptr;
}

}  // namespace pagoda::cuda
