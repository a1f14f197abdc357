// The rows that the math warps have, joined over those that had the same rows and other keys.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_EPILOGUE_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_EPILOGUE_CUH_

#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/warp_row.cuh"
#include "cuda/sm90/sync.cuh"
#include "semantics/softmax.h"

namespace pagoda::cuda {

// The barrier of the math warps.
constexpr uint32_t kMathBarrier = 1;

template <class Config>
PAGODA_DEVICE void sync_math_warps() {
  sm90::named_barrier_sync(kMathBarrier, Config::kMathThreads);
}

PAGODA_DEVICE float from_lane(float x, int lane) {
  return __shfl_sync(0xffffffffu, x, lane);
}

// One row's states in the warps that had a part of its keys, and how its outputs there add up.
struct ExchangedState {
  SoftmaxState joined;
  float weight[4];

  // Groups g < num_groups are `stride` rows apart.
  PAGODA_DEVICE ExchangedState(const SoftmaxState* states, int num_groups, int stride) {
#pragma unroll
    for (int g = 0; g < 4; ++g) {
      if (g < num_groups) joined.max_log2 = fmaxf(joined.max_log2, states[g * stride].max_log2);
    }
    const float anchor = softmax_anchor(joined.max_log2);
#pragma unroll
    for (int g = 0; g < 4; ++g) {
      weight[g] = 0.0f;
      if (g >= num_groups) continue;
      weight[g] = softmax_weight(states[g * stride].max_log2, anchor);
      joined.sum += states[g * stride].sum * weight[g];
    }
  }
};

// Adds `weight` times row `row` of the warps' exchange.
template <class Config>
PAGODA_DEVICE void add_exchanged(const float* exchange, int row, float weight,
                                 WarpRow<Config::kHeadDim>& to) {
  using Row = WarpRow<Config::kHeadDim>;
#pragma unroll
  for (int v = 0; v < Row::kVectors; ++v) {
    const auto& from = *reinterpret_cast<const typename Row::Vector*>(
        exchange + ExchangeRows<Config>::offset(row, Row::column(v)));
#pragma unroll
    for (int i = 0; i < Row::kVector; ++i) to.at[v].x[i] += from.x[i] * weight;
  }
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_EPILOGUE_CUH_
