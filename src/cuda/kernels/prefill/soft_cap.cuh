// The soft cap's tanh, from the units that exp2 has.
#ifndef PAGODA_CUDA_KERNELS_PREFILL_SOFT_CAP_CUH_
#define PAGODA_CUDA_KERNELS_PREFILL_SOFT_CAP_CUH_

#include "cuda/sm90/convert.cuh"
#include "semantics/score.h"

namespace pagoda::cuda {

// tanh(x), relative error below 2^-20. (tanh.approx has 2^-11, which at a cap of 50 is a weight's
// hundredth part.)
PAGODA_DEVICE float tanh_by_exp2(float x) {
  // Where (1 - t) / (1 + t) cancels, the series up to x^7; what it leaves out is below 2^-24.
  constexpr float kSmall = 0.2f;
  const float square = x * x;
  const float series =
      x * fmaf(square, fmaf(square, fmaf(square, -17.0f / 315, 2.0f / 15), -1.0f / 3), 1.0f);
  const float t = sm90::exp2_approx(fabsf(x) * (-2.0f * kLog2e));
  const float ratio = copysignf((1.0f - t) * sm90::reciprocal_approx(1.0f + t), x);
  return fabsf(x) < kSmall ? series : ratio;
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PREFILL_SOFT_CAP_CUH_
