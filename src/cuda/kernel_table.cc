#include "cuda/kernels/attention/launch.h"
#include "cuda/kernels/prefill/launch.h"

namespace pagoda::cuda {

#define PAGODA_KERNEL(name) extern const AttentionKernel name;
#include "attention_kernels.inc"
#undef PAGODA_KERNEL
#define PAGODA_KERNEL(name) extern const PrefillKernel name;
#include "prefill_kernels.inc"
#undef PAGODA_KERNEL

std::span<const AttentionKernel* const> attention_kernels() {
  static constexpr const AttentionKernel* kKernels[] = {
#define PAGODA_KERNEL(name) &name,
#include "attention_kernels.inc"
#undef PAGODA_KERNEL
  };
  return kKernels;
}

std::span<const PrefillKernel* const> prefill_kernels() {
  // The null is for a build that has none.
  static constexpr const PrefillKernel* kKernels[] = {
#define PAGODA_KERNEL(name) &name,
#include "prefill_kernels.inc"
#undef PAGODA_KERNEL
      nullptr};
  return std::span(kKernels).first(std::size(kKernels) - 1);
}

const AttentionKernel* find_attention_kernel(DType kv_dtype, int32_t head_dim, bool plain) {
  for (const AttentionKernel* kernel : attention_kernels()) {
    const bool has_features = plain || !kernel->plain;
    if (kernel->kv_dtype == kv_dtype && kernel->head_dim >= head_dim && has_features) return kernel;
  }
  return nullptr;
}

const PrefillKernel* find_prefill_kernel(const PrefillNeeds& needs) {
  const bool converts = size_of(needs.kv_dtype) == 1;
  const DType dtype =
      converts ? converted_dtype(needs.q_dtype, needs.token_scales) : needs.kv_dtype;
  for (const PrefillKernel* kernel : prefill_kernels()) {
    const bool fits = kernel->dtype == dtype && kernel->head_dim >= needs.head_dim;
    if (fits && kernel->converts == converts && kernel->token_scales == needs.token_scales &&
        kernel->soft_cap == needs.soft_cap) {
      return kernel;
    }
  }
  return nullptr;
}

}  // namespace pagoda::cuda
