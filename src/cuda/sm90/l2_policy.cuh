// How long L2 should keep what a load brings in.
#ifndef PAGODA_CUDA_SM90_L2_POLICY_CUH_
#define PAGODA_CUDA_SM90_L2_POLICY_CUH_

#include "cuda/sm90/device.cuh"

namespace pagoda::sm90 {

// Made once per thread by one of the functions below.
struct L2Policy {
  uint64_t bits;
};

// createpolicy.fractional (Data Movement: createpolicy): first to go, for data that is read once.
PAGODA_DEVICE L2Policy l2_evict_first() {
  L2Policy policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy.bits));
  return policy;
}

// createpolicy.fractional: last to go, for data that other CTAs will read again.
PAGODA_DEVICE L2Policy l2_evict_last() {
  L2Policy policy;
  asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy.bits));
  return policy;
}

// createpolicy.fractional: what a load without a policy gets.
PAGODA_DEVICE L2Policy l2_evict_normal() {
  L2Policy policy;
  asm("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy.bits));
  return policy;
}

}  // namespace pagoda::sm90

#endif  // PAGODA_CUDA_SM90_L2_POLICY_CUH_
