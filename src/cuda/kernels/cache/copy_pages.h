// Whole pages from one cache to another, as a box of up to three axes each.
#ifndef PAGODA_CUDA_KERNELS_CACHE_COPY_PAGES_H_
#define PAGODA_CUDA_KERNELS_CACHE_COPY_PAGES_H_

#include <cuda_runtime_api.h>

#include "cuda/page_box.h"

namespace pagoda::cuda {

// What a CTA copies of a page, at least, if the page has more.
constexpr int64_t kMinCopyCtaUnits = 1024;

struct CopyParams {
  PageBox box;
  const void* source;
  void* destination;
  const int64_t* page_pairs;  // [num_pairs, 2], in device memory
  int64_t num_pairs;
};

// One launch. Pairs times CTAs of a page are below 2^31.
cudaError_t launch_copy_pages(const CopyParams& params, cudaStream_t stream);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_CACHE_COPY_PAGES_H_
