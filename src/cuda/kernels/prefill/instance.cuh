// Makes a table entry of one configuration; included by the generated file of each instance.
#ifndef PAGODA_CUDA_KERNELS_PREFILL_INSTANCE_CUH_
#define PAGODA_CUDA_KERNELS_PREFILL_INSTANCE_CUH_

#include "cuda/kernels/launch.h"
#include "cuda/kernels/prefill/kernel.cuh"
#include "cuda/kernels/prefill/launch.h"

namespace pagoda::cuda {

template <class Config>
cudaError_t launch_prefill(const AttentionParams& params, const Work& work,
                           const PrefillBoxes& boxes, cudaStream_t stream) {
  const cudaError_t error =
      allow_smem<prefill_kernel<Config>>(params.device.index, sizeof(PrefillSmem<Config>));
  if (error != cudaSuccess) return error;
  return launch_dependent(prefill_kernel<Config>,
                          {.ctas = dim3(static_cast<unsigned>(work.config.num_workers)),
                           .threads = Config::kThreads,
                           .smem_bytes = sizeof(PrefillSmem<Config>)},
                          stream, params, work, boxes);
}

template <class Config>
constexpr PrefillKernel prefill_kernel_entry() {
  return {.dtype = kDTypeOf<typename Config::T>,
          .converts = Config::kKv8Bit,
          .token_scales = Config::kTokenScales,
          .head_dim = Config::kHeadDim,
          .soft_cap = Config::kSoftCap,
          .tile_rows = Config::kTileRows,
          .threads = Config::kThreads,
          .smem_bytes = sizeof(PrefillSmem<Config>),
          .launch = launch_prefill<Config>};
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PREFILL_INSTANCE_CUH_
