// Whole pages by pairs that lie in host memory, between memories that the device can address.
#ifndef PAGODA_CUDA_KERNELS_CACHE_SWAP_PAGES_H_
#define PAGODA_CUDA_KERNELS_CACHE_SWAP_PAGES_H_

#include <cuda_runtime_api.h>

#include "cuda/page_box.h"

namespace pagoda::cuda {

// Page ids and the units of a page fit in 31 bits.
struct SwapParams {
  PageBox box;
  const void* source;         // device memory, or pinned host memory
  void* destination;          // where the device sees it
  const int64_t* page_pairs;  // [num_pairs, 2], in host memory, read by the call
  int64_t num_pairs;
};

// A launch per few hundred pairs.
cudaError_t launch_swap_pages(const SwapParams& params, cudaStream_t stream);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_CACHE_SWAP_PAGES_H_
