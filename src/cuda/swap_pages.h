// Pages between devices, or between a device and the host: by a kernel or by the copy engines.
#ifndef PAGODA_CUDA_SWAP_PAGES_H_
#define PAGODA_CUDA_SWAP_PAGES_H_

#include <cuda_runtime_api.h>

#include "pagoda/kv_cache.h"

namespace pagoda::cuda {

// The page pairs are read now, in host memory. The device is the current one, and holds one of the
// tensors. Pinned host memory is copied while the caller goes on.
cudaError_t enqueue_swap(const CopyPages& args, int32_t device, cudaStream_t stream);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_SWAP_PAGES_H_
