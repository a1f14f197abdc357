// Makes a table entry of one configuration; included by the generated file of each instance.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_INSTANCE_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_INSTANCE_CUH_

#include "cuda/kernels/attention/kernel.cuh"
#include "cuda/kernels/attention/launch.h"
#include "cuda/kernels/launch.h"

namespace pagoda::cuda {

template <class Config>
cudaError_t launch_attention(const AttentionParams& params, const Work& work, const KvBoxes& boxes,
                             cudaStream_t stream) {
  const cudaError_t error =
      allow_smem<attention_kernel<Config>>(params.device.index, sizeof(SmemPlan<Config>));
  if (error != cudaSuccess) return error;
  const LaunchShape shape{.ctas = dim3(static_cast<unsigned>(work.config.num_workers)),
                          .threads = Config::kThreads,
                          .smem_bytes = sizeof(SmemPlan<Config>)};
  return launch_dependent(attention_kernel<Config>, shape, stream, params, work, boxes);
}

template <class Config>
constexpr AttentionKernel attention_kernel_entry() {
  return {.kv_dtype = kDTypeOf<typename Config::KvT>,
          .head_dim = Config::kHeadDim,
          .plain = Config::kPlain,
          .tile_rows = kTileRows,
          .ctas_per_sm = Config::kCtasPerSm,
          .threads = Config::kThreads,
          .smem_bytes = sizeof(SmemPlan<Config>),
          .launch = launch_attention<Config>};
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_INSTANCE_CUH_
