#include "cuda/kernels/attention/launch.h"

namespace pagoda::cuda {

#define PAGODA_KERNEL(name) extern const AttentionKernel name;
#include "attention_kernels.inc"
#undef PAGODA_KERNEL

const AttentionKernel* find_attention_kernel(DType dtype, int32_t head_dim) {
  // By ascending head_dim.
  static constexpr const AttentionKernel* kKernels[] = {
#define PAGODA_KERNEL(name) &name,
#include "attention_kernels.inc"
#undef PAGODA_KERNEL
  };
  for (const AttentionKernel* kernel : kKernels) {
    if (kernel->dtype == dtype && kernel->head_dim >= head_dim) return kernel;
  }
  return nullptr;
}

}  // namespace pagoda::cuda
