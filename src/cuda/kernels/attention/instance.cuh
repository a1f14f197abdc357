// Makes a table entry of one configuration; included by the generated file of each instance.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_INSTANCE_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_INSTANCE_CUH_

#include "cuda/kernels/attention/kernel.cuh"
#include "cuda/kernels/attention/launch.h"

namespace pagoda::cuda {

template <class T>
constexpr DType kDTypeOf = DType::kBFloat16;
template <>
constexpr DType kDTypeOf<Float16> = DType::kFloat16;

template <class Config>
cudaError_t prepare_attention() {
  return cudaFuncSetAttribute(attention_kernel<Config>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              sizeof(SmemPlan<Config>));
}

template <class Config>
cudaError_t launch_attention(const AttentionParams& params, const Work& work, int32_t num_ctas,
                             cudaStream_t stream) {
  attention_kernel<Config>
      <<<num_ctas, Config::kThreads, sizeof(SmemPlan<Config>), stream>>>(params, work);
  return cudaGetLastError();
}

template <class Config>
constexpr AttentionKernel attention_kernel_entry() {
  return {.dtype = kDTypeOf<typename Config::T>,
          .head_dim = Config::kHeadDim,
          .ctas_per_sm = Config::kCtasPerSm,
          .prepare = prepare_attention<Config>,
          .launch = launch_attention<Config>};
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_INSTANCE_CUH_
