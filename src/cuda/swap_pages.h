// Pages between devices, or between a device and the host, by the copy engines.
#ifndef PAGODA_CUDA_SWAP_PAGES_H_
#define PAGODA_CUDA_SWAP_PAGES_H_

#include <cuda_runtime_api.h>

#include "cuda/page_box.h"
#include "pagoda/kv_cache.h"

namespace pagoda::cuda {

// The page pairs are read now, in host memory; pages that follow each other in both tensors go in
// one copy. Pinned host memory is copied while the caller goes on.
cudaError_t enqueue_swap(const CopyPages& args, const PageBox& box, cudaStream_t stream);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_SWAP_PAGES_H_
