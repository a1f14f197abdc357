// What every file of this folder needs. The folder wraps PTX: one instruction per function, named
// by its PTX ISA section, with no decisions and no knowledge of what the kernels compute.
#ifndef PAGODA_CUDA_SM90_DEVICE_CUH_
#define PAGODA_CUDA_SM90_DEVICE_CUH_

#include "core/portability.h"

#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
#error "src/cuda/sm90 compiles only for sm_90a: set CMAKE_CUDA_ARCHITECTURES=90a-real"
#endif

#define PAGODA_DEVICE __device__ __forceinline__

namespace pagoda::sm90 {

constexpr int kWarpSize = 32;
constexpr int kWarpgroupSize = 128;

// Shared memory as PTX addresses it: 32 bits within the CTA's window.
// cvta.to.shared (Data Movement: cvta)
PAGODA_DEVICE uint32_t smem_address(const void* smem) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(smem));
}

// No instruction: `x` has to be in memory here, and is not in registers until it is used again.
template <class T>
PAGODA_DEVICE void keep_in_memory(T& x) {
  asm volatile("" ::"l"(&x) : "memory");
}

}  // namespace pagoda::sm90

#endif  // PAGODA_CUDA_SM90_DEVICE_CUH_
