// The lanes of a row each take a chunk of it from every state. The merged state may lie over one of
// the others: a chunk is read from all of them before it is written, and the lse is written last.
#include "cuda/kernels/cache/merge_states.h"

#include <algorithm>

#include "cuda/kernels/cache/row.cuh"
#include "cuda/kernels/launch.h"
#include "cuda/sm90/sync.cuh"
#include "semantics/merge.h"

namespace pagoda::cuda {
namespace {

template <int kMaxStates>
struct StateList {
  MergeState of[kMaxStates];
};

// A query token and head.
struct MergeRow {
  int32_t token;
  int32_t head;

  template <class T>
  PAGODA_DEVICE Row<T> out(const MergeState& state) const {
    const RowsParams& rows = state.out;
    return {rows.data, rows.dtype, token * rows.token_stride + head * rows.head_stride};
  }
  PAGODA_DEVICE float* lse(const MergeState& state) const {
    return state.lse + token * state.lse_token_stride + head * state.lse_head_stride;
  }
};

// One chunk of several states, all under way at once. What of it has no weight is dropped.
template <class T>
struct Batch {
  static constexpr int kStates = sizeof(typename Row<T>::Bits) > 16 ? 2 : 4;

  typename Row<T>::Bits bits[kStates];

  PAGODA_DEVICE void load(const MergeState* states, int32_t num_states, const MergeRow& row,
                          int32_t at) {
#pragma unroll
    for (int i = 0; i < kStates; ++i) {
      if (i < num_states) bits[i] = row.out<T>(states[i]).load(at);
    }
  }
};

// As the states' rows are aligned, so is the merged one.
template <class T>
PAGODA_DEVICE void store(const RowsParams& merged, const MergeRow& row, int32_t at,
                         const float (&values)[Row<T>::kChunk]) {
  const Row<T> out(merged.data, merged.dtype,
                   row.token * merged.token_stride + row.head * merged.head_stride);
  out.store(at, out.from_floats(values));
}

template <int kChunk>
PAGODA_DEVICE void store_merged(const RowsParams& merged, const MergeRow& row, int32_t at,
                                const float (&values)[kChunk]) {
  if constexpr (kChunk == 1) {
    store<AnyType>(merged, row, at, values);
  } else {
    switch (merged.dtype) {
      case DType::kFloat32:
        return store<float>(merged, row, at, values);
      case DType::kFloat16:
        return store<Float16>(merged, row, at, values);
      default:
        return store<BFloat16>(merged, row, at, values);
    }
  }
}

template <class T, int kMaxStates>
__global__ void __launch_bounds__(kCacheThreads)
    merge_states_kernel(const __grid_constant__ MergeParams params,
                        const __grid_constant__ StateList<kMaxStates> list,
                        const __grid_constant__ RowLanes lanes) {
  constexpr int kChunk = Row<T>::kChunk;
  constexpr int kBatch = Batch<T>::kStates;
  sm90::wait_for_previous_grids();
  sm90::launch_dependent_grids();
  const ThreadPlace me(lanes, blockIdx.x);
  if (me.row >= lanes.num_rows) return;
  const auto heads = static_cast<uint32_t>(params.num_heads);
  const MergeRow row{static_cast<int32_t>(me.row / heads), static_cast<int32_t>(me.row % heads)};
  const MergeState* const states = list.of;
  const int32_t num_states = params.num_states;

  // The first chunks are under way before their weights are known.
  Batch<T> batch;
  if (me.unit < lanes.num_units) batch.load(states, num_states, row, me.unit * kChunk);
  float largest = -kInfinity;
  for (int32_t i = 0; i < num_states; ++i) {
    largest = max_of(largest, usable_lse(*row.lse(states[i])));
  }
  float sum = 0.0f;
  for (int32_t i = 0; i < num_states; ++i) sum += merge_weight(*row.lse(states[i]), largest);

  for (int32_t unit = me.unit; unit < lanes.num_units;) {
    float total[kChunk] = {};
    for (int32_t begin = 0; begin < num_states; begin += kBatch) {
      if (begin > 0) batch.load(states + begin, num_states - begin, row, unit * kChunk);
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        if (begin + i >= num_states) break;
        const MergeState& state = states[begin + i];
        const float weight = merge_weight(*row.lse(state), largest);
        if (weight == 0.0f) continue;
        const float share = weight / sum;
        float values[kChunk];
        row.out<T>(state).to_floats(batch.bits[i], values);
#pragma unroll
        for (int d = 0; d < kChunk; ++d) total[d] += share * values[d];
      }
    }
    store_merged(params.merged.out, row, unit * kChunk, total);
    unit += lanes.lanes();
    if (unit < lanes.num_units) batch.load(states, num_states, row, unit * kChunk);
  }
  if (params.merged.lse == nullptr) return;
  // All lanes have read the row's lse before one of them overwrites it.
  __syncwarp(row_mask(lanes, me.unit));
  if (me.unit == 0) *row.lse(params.merged) = merged_lse(largest, sum);
}

template <class T, int kMaxStates>
cudaError_t launch(const MergeParams& params, const MergeState* states, cudaStream_t stream) {
  StateList<kMaxStates> list{};
  std::copy_n(states, params.num_states, list.of);
  const RowLanes lanes = make_row_lanes(
      ceil_div(params.head_dim, Row<T>::kChunk),
      static_cast<uint32_t>(params.num_tokens) * static_cast<uint32_t>(params.num_heads));
  if (lanes.num_rows == 0) return cudaSuccess;
  return launch_dependent(
      merge_states_kernel<T, kMaxStates>,
      {.ctas = dim3(lanes.num_ctas()), .threads = kCacheThreads, .smem_bytes = 0}, stream, params,
      list, lanes);
}

// More parameters take longer to launch.
template <class T>
cudaError_t launch_of(const MergeParams& params, const MergeState* states, cudaStream_t stream) {
  if (params.num_states <= 8) return launch<T, 8>(params, states, stream);
  if (params.num_states <= 64) return launch<T, 64>(params, states, stream);
  return launch<T, kMaxMergedStates>(params, states, stream);
}

}  // namespace

cudaError_t launch_merge_states(const MergeParams& params, const MergeState* states,
                                cudaStream_t stream) {
  if (!params.in_vectors) return launch_of<AnyType>(params, states, stream);
  switch (states[0].out.dtype) {
    case DType::kFloat32:
      return launch_of<float>(params, states, stream);
    case DType::kFloat16:
      return launch_of<Float16>(params, states, stream);
    default:
      return launch_of<BFloat16>(params, states, stream);
  }
}

}  // namespace pagoda::cuda
