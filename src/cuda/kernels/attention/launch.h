// The compiled attention kernels, as a table. cmake/KernelInstances.cmake is the list.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_LAUNCH_H_
#define PAGODA_CUDA_KERNELS_ATTENTION_LAUNCH_H_

#include <cuda_runtime_api.h>

#include <span>

#include "cuda/kernels/work.h"
#include "cuda/kv_boxes.h"

namespace pagoda::cuda {

struct AttentionKernel {
  DType kv_dtype;
  int32_t head_dim;  // the largest that it takes
  bool plain;        // takes only plain logits and masks
  int32_t tile_rows;
  int32_t ctas_per_sm;
  int32_t threads;     // of a CTA
  int32_t smem_bytes;  // of a CTA
  cudaError_t (*launch)(const AttentionParams& params, const Work& work, const KvBoxes& boxes,
                        cudaStream_t stream);
};

// By ascending head_dim, plain ones first.
std::span<const AttentionKernel* const> attention_kernels();

// The kernel with the smallest head_dim that holds the problem's and that has what it needs, or
// null.
const AttentionKernel* find_attention_kernel(DType kv_dtype, int32_t head_dim, bool plain);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_LAUNCH_H_
