// A CTA's way through what there is to do.
#ifndef PAGODA_CUDA_KERNELS_PREFILL_WALK_ALONG_CUH_
#define PAGODA_CUDA_KERNELS_PREFILL_WALK_ALONG_CUH_

#include "cuda/kernels/share_walk.cuh"
#include "cuda/kernels/unit_walk.cuh"

namespace pagoda::cuda {

// Calls use(walk) at each piece: of the queue, if the plan has one, or of the CTA's share. All
// lanes of one warp call together.
template <class Use>
PAGODA_DEVICE void walk_along(const AttentionParams& params, const Work& work, Use&& use) {
  const UnitQueue queue = *work.queue;
  const ShareBound first = work.bounds[blockIdx.x];  // asked for together
  if (queue.num_units > 0) {
    UnitWalk walk(params, work, queue, first);
    for (; !walk.done(); walk.next()) use(walk);
    walk.finish();
  } else {
    ShareWalk walk(params, work, static_cast<int32_t>(blockIdx.x));
    for (; !walk.done(); walk.next()) use(walk);
  }
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PREFILL_WALK_ALONG_CUH_
