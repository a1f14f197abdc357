// Binary search's faster sister: a warp asks 32 places at once.
#ifndef PAGODA_CUDA_KERNELS_WARP_SEARCH_CUH_
#define PAGODA_CUDA_KERNELS_WARP_SEARCH_CUH_

#include "core/arith.h"
#include "cuda/sm90/device.cuh"

namespace pagoda::cuda {

// Of `count` ascending values the last index whose value is <= x; values[0] <= x. All lanes of a
// warp call together.
PAGODA_DEVICE int32_t last_not_above_in_warp(const int32_t* values, int32_t count, int32_t x) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x % 32);
  int32_t low = 0;
  while (count > 1) {
    const int32_t step = ceil_div(count, 32);
    const int32_t at = low + min_of(lane * step, count - 1);
    const uint32_t not_above = __ballot_sync(0xffffffffu, lane * step < count && values[at] <= x);
    const int32_t last = 31 - __clz(static_cast<int>(not_above));
    low += last * step;
    count = min_of(step, count - last * step);
  }
  return low;
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_WARP_SEARCH_CUH_
