// The lanes of a row each take a chunk of it from every state. The merged state may lie over one of
// the others: a chunk, or an lse, is read from all of them before it is written.
#include "cuda/kernels/cache/merge_states.h"

#include <algorithm>

#include "cuda/kernels/cache/row.cuh"
#include "cuda/kernels/launch.h"
#include "cuda/sm90/sync.cuh"
#include "semantics/divisor.h"
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

  // In elements.
  PAGODA_DEVICE int64_t offset(const RowsParams& rows) const {
    return token * rows.token_stride + head * rows.head_stride;
  }
  PAGODA_DEVICE float* lse(const MergeState& state) const {
    return state.lse + token * state.lse_token_stride + head * state.lse_head_stride;
  }
};

// As the states' rows are aligned, so is the merged one.
template <class T>
PAGODA_DEVICE void store(const RowsParams& merged, int64_t offset,
                         const float (&values)[Row<T>::kChunk]) {
  const Row<T> out(merged.data, merged.dtype, offset);
  out.store(0, out.from_floats(values));
}

template <int kChunk>
PAGODA_DEVICE void store_merged(const RowsParams& merged, int64_t offset,
                                const float (&values)[kChunk]) {
  if constexpr (kChunk == 1) {
    store<AnyType>(merged, offset, values);
  } else {
    switch (merged.dtype) {
      case DType::kFloat32:
        return store<float>(merged, offset, values);
      case DType::kFloat16:
        return store<Float16>(merged, offset, values);
      default:
        return store<BFloat16>(merged, offset, values);
    }
  }
}

// Successive tokens of a head are merged by the same lanes, one after another.
struct MergeLanes {
  RowLanes rows;  // of the first tokens
  int32_t tokens;
};

// Chunks that a thread has under way.
template <class T>
constexpr int kMaxChunks = sizeof(typename Row<T>::Bits) > 16 ? 4 : 8;

// On an SM: what leaves each thread registers enough.
template <int kStates>
constexpr int kMinCtas = kStates == 2 ? 7 : 6;

// The share of each of a row's states, 0 for what is not a state. Stores the whole's lse.
template <int kStates>
PAGODA_DEVICE void weigh(const MergeParams& params, const StateList<kStates>& list,
                         const MergeRow& row, float (&shares)[kStates]) {
  float lse[kStates];
#pragma unroll
  for (int i = 0; i < kStates; ++i) {
    lse[i] = i < params.num_states ? *row.lse(list.of[i]) : -kInfinity;
  }
  float largest = -kInfinity;
#pragma unroll
  for (int i = 0; i < kStates; ++i) largest = max_of(largest, usable_lse(lse[i]));
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kStates; ++i) {
    shares[i] = merge_weight(lse[i], largest);
    sum += shares[i];
  }
  const Divisor by(sum);
#pragma unroll
  for (int i = 0; i < kStates; ++i) shares[i] = by.quotient(shares[i]);
  if (params.merged.lse != nullptr) *row.lse(params.merged) = merged_lse(largest, sum);
}

// total += share * x; what has no share is dropped, be it NaN.
template <class T>
PAGODA_DEVICE void add_share(float share, DType dtype, const typename Row<T>::Bits& bits,
                             float (&total)[Row<T>::kChunk]) {
  if (!(share > 0.0f)) return;
  float values[Row<T>::kChunk];
  Row<T>(nullptr, dtype, 0).to_floats(bits, values);
#pragma unroll
  for (int d = 0; d < Row<T>::kChunk; ++d) total[d] += share * values[d];
}

// Where a thread's chunks of one token are.
template <class T, int kStates>
struct ChunkPlaces {
  const T* states[kStates];
  int64_t merged;  // from its data, in elements

  PAGODA_DEVICE ChunkPlaces(const MergeParams& params, const StateList<kStates>& list,
                            const MergeRow& row, int32_t channel) {
#pragma unroll
    for (int i = 0; i < kStates; ++i) {
      const RowsParams& out = list.of[i].out;
      states[i] = static_cast<const T*>(out.data) + row.offset(out) + channel;
    }
    merged = row.offset(params.merged.out) + channel;
  }

  PAGODA_DEVICE void advance(const MergeParams& params, const StateList<kStates>& list,
                             int32_t num_tokens) {
#pragma unroll
    for (int i = 0; i < kStates; ++i) states[i] += num_tokens * list.of[i].out.token_stride;
    merged += num_tokens * params.merged.out.token_stride;
  }
};

// At most kStates states. The lanes of a row take some successive tokens of its head, of which each
// lane weighs the states of one. kRows tokens are under way at once; where they are the first, the
// lse are too.
template <class T, int kStates, int kRows>
__global__ void __launch_bounds__(kCacheThreads, kMinCtas<kStates>)
    merge_few_kernel(const __grid_constant__ MergeParams params,
                     const __grid_constant__ StateList<kStates> list,
                     const __grid_constant__ MergeLanes lanes) {
  using Bits = typename Row<T>::Bits;
  constexpr int kChunk = Row<T>::kChunk;
  sm90::wait_for_previous_grids();
  sm90::launch_dependent_grids();
  const ThreadPlace me(lanes.rows, blockIdx.x);
  const auto heads = static_cast<uint32_t>(params.num_heads);
  const MergeRow first{static_cast<int32_t>(me.row / heads) * lanes.tokens,
                       static_cast<int32_t>(me.row % heads)};
  const int32_t num_tokens = min_of(lanes.tokens, params.num_tokens - first.token);

  float shares[kStates];
  for (int32_t begin = 0; begin < lanes.rows.num_units; begin += lanes.rows.lanes()) {
    const int32_t unit = begin + me.unit;
    const int32_t tokens_here = unit < lanes.rows.num_units ? num_tokens : 0;
    ChunkPlaces<T, kStates> places(params, list, first, unit * kChunk);
    for (int32_t token = 0; token < lanes.tokens; token += kRows) {
      Bits bits[kRows][kStates];
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int i = 0; i < kStates; ++i) {
          const T* from = places.states[i] + r * list.of[i].out.token_stride;
          if (token + r < tokens_here && i < params.num_states) {
            bits[r][i] = *reinterpret_cast<const Bits*>(from);
          }
        }
      }
      // Here, so that the first chunks are under way.
      if (begin == 0 && token == 0 && me.unit < num_tokens) {
        weigh(params, list, {first.token + me.unit, first.head}, shares);
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        float total[kChunk] = {};
#pragma unroll
        for (int i = 0; i < kStates; ++i) {
          const float share = __shfl_sync(0xffffffffu, shares[i], token + r, lanes.rows.lanes());
          add_share<T>(share, list.of[i].out.dtype, bits[r][i], total);
        }
        if (token + r < tokens_here) {
          store_merged(params.merged.out, places.merged + r * params.merged.out.token_stride,
                       total);
        }
      }
      places.advance(params, list, kRows);
    }
  }
}

// Any number of states, some at a time; one token.
template <class T, int kMaxStates>
__global__ void __launch_bounds__(kCacheThreads)
    merge_many_kernel(const __grid_constant__ MergeParams params,
                      const __grid_constant__ StateList<kMaxStates> list,
                      const __grid_constant__ MergeLanes merge_lanes) {
  constexpr int kChunk = Row<T>::kChunk;
  constexpr int kBatch = 4;
  const RowLanes& lanes = merge_lanes.rows;
  sm90::wait_for_previous_grids();
  sm90::launch_dependent_grids();
  const ThreadPlace me(lanes, blockIdx.x);
  if (me.row >= lanes.num_rows) return;
  const auto heads = static_cast<uint32_t>(params.num_heads);
  const MergeRow row{static_cast<int32_t>(me.row / heads), static_cast<int32_t>(me.row % heads)};
  const int32_t num_states = params.num_states;

  float largest = -kInfinity;
  for (int32_t i = 0; i < num_states; ++i) {
    largest = max_of(largest, usable_lse(*row.lse(list.of[i])));
  }
  float sum = 0.0f;
  for (int32_t i = 0; i < num_states; ++i) sum += merge_weight(*row.lse(list.of[i]), largest);
  const Divisor by(sum);

  for (int32_t unit = me.unit; unit < lanes.num_units; unit += lanes.lanes()) {
    float total[kChunk] = {};
    for (int32_t begin = 0; begin < num_states; begin += kBatch) {
      typename Row<T>::Bits bits[kBatch];
      float lse[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        if (begin + i >= num_states) break;
        const MergeState& state = list.of[begin + i];
        bits[i] =
            Row<T>(state.out.data, state.out.dtype, row.offset(state.out)).load(unit * kChunk);
        lse[i] = *row.lse(state);
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        if (begin + i >= num_states) break;
        const float share = by.quotient(merge_weight(lse[i], largest));
        add_share<T>(share, list.of[begin + i].out.dtype, bits[i], total);
      }
    }
    store_merged(params.merged.out, row.offset(params.merged.out) + unit * kChunk, total);
  }
  if (params.merged.lse == nullptr) return;
  // All lanes have read the row's lse before one of them overwrites it.
  __syncwarp(row_mask(lanes, me.unit));
  if (me.unit == 0) *row.lse(params.merged) = merged_lse(largest, sum);
}

template <int kMaxStates>
using MergeKernel = void (*)(MergeParams, StateList<kMaxStates>, MergeLanes);

template <int kMaxStates>
cudaError_t launch(MergeKernel<kMaxStates> kernel, const MergeLanes& lanes,
                   const MergeParams& params, const MergeState* states, cudaStream_t stream) {
  if (lanes.rows.num_rows == 0) return cudaSuccess;
  StateList<kMaxStates> list{};
  std::copy_n(states, params.num_states, list.of);
  return launch_dependent(
      kernel, {.ctas = dim3(lanes.rows.num_ctas()), .threads = kCacheThreads, .smem_bytes = 0},
      stream, params, list, lanes);
}

MergeLanes make_lanes(const MergeParams& params, int32_t chunk, int32_t tokens) {
  return {make_row_lanes(ceil_div(params.head_dim, chunk),
                         static_cast<uint32_t>(ceil_div(params.num_tokens, tokens)) *
                             static_cast<uint32_t>(params.num_heads)),
          tokens};
}

// A lane can weigh only one of its row's tokens.
template <class T, int kStates>
cudaError_t launch_few(const MergeParams& params, const MergeState* states, cudaStream_t stream) {
  constexpr int kChunk = Row<T>::kChunk;
  const MergeLanes one = make_lanes(params, kChunk, 1);
  const int32_t tokens = rows_by_lane(one.rows, one.rows.lanes());
  if (tokens == 1) {
    return launch(MergeKernel<kStates>(merge_few_kernel<T, kStates, 1>), one, params, states,
                  stream);
  }
  return launch(MergeKernel<kStates>(merge_few_kernel<T, kStates, kMaxChunks<T> / kStates>),
                make_lanes(params, kChunk, tokens), params, states, stream);
}

template <class T, int kMaxStates>
cudaError_t launch_many(const MergeParams& params, const MergeState* states, cudaStream_t stream) {
  return launch(MergeKernel<kMaxStates>(merge_many_kernel<T, kMaxStates>),
                make_lanes(params, Row<T>::kChunk, 1), params, states, stream);
}

// More parameters take longer to launch.
template <class T>
cudaError_t launch_of(const MergeParams& params, const MergeState* states, cudaStream_t stream) {
  if constexpr (!std::is_same_v<T, AnyType>) {
    if (params.num_states <= 2) return launch_few<T, 2>(params, states, stream);
    if (params.num_states <= 4) return launch_few<T, 4>(params, states, stream);
    if constexpr (kMaxChunks<T> >= 8) {
      if (params.num_states <= 8) return launch_few<T, 8>(params, states, stream);
    }
  }
  if (params.num_states <= 64) return launch_many<T, 64>(params, states, stream);
  return launch_many<T, kMaxMergedStates>(params, states, stream);
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
