// The lanes of a row each take a chunk of it from every state. The merged state may lie over one of
// the others: a chunk is read from all of them before it is written, and the lse is written last.
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

  template <class T>
  PAGODA_DEVICE Row<T> out(const MergeState& state) const {
    const RowsParams& rows = state.out;
    return {rows.data, rows.dtype, token * rows.token_stride + head * rows.head_stride};
  }
  PAGODA_DEVICE float* lse(const MergeState& state) const {
    return state.lse + token * state.lse_token_stride + head * state.lse_head_stride;
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

template <class T>
constexpr bool kIsWide = sizeof(typename Row<T>::Bits) > 16;

// Chunks of different states that a thread holds, in 64 registers with all else if they are narrow.
template <class T>
constexpr int kMaxChunks = kIsWide<T> ? 4 : 8;
template <class T>
constexpr int kMinCtas = kIsWide<T> ? 1 : 8;

// What each of a row's states counts for, by lse; nothing for what is not a state.
template <int kStates>
struct RowShares {
  float of[kStates];
  float lse;  // of the whole

  PAGODA_DEVICE explicit RowShares(const float (&lse_of)[kStates]) {
    float largest = -kInfinity;
#pragma unroll
    for (int i = 0; i < kStates; ++i) largest = max_of(largest, usable_lse(lse_of[i]));
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kStates; ++i) {
      of[i] = merge_weight(lse_of[i], largest);
      sum += of[i];
    }
    const Divisor by(sum);
#pragma unroll
    for (int i = 0; i < kStates; ++i) of[i] = by.quotient(of[i]);
    lse = merged_lse(largest, sum);
  }
};

// total += share * x; what has no share is dropped, be it NaN.
template <class T>
PAGODA_DEVICE void add_share(float share, const Row<T>& row, const typename Row<T>::Bits& bits,
                             float (&total)[Row<T>::kChunk]) {
  if (!(share > 0.0f)) return;
  float values[Row<T>::kChunk];
  row.to_floats(bits, values);
#pragma unroll
  for (int d = 0; d < Row<T>::kChunk; ++d) total[d] += share * values[d];
}

// Successive tokens of a head: what one thread merges.
template <int kRows>
struct MergeRows {
  int32_t num_rows;  // those that there are
  MergeRow of[kRows];

  PAGODA_DEVICE MergeRows(const MergeParams& params, uint32_t index) {
    const auto heads = static_cast<uint32_t>(params.num_heads);
    const auto token = static_cast<int32_t>(index / heads) * kRows;
    num_rows = min_of(kRows, params.num_tokens - token);
#pragma unroll
    for (int r = 0; r < kRows; ++r) of[r] = {token + r, static_cast<int32_t>(index % heads)};
  }
};

// A chunk of each state of each row, all under way at once.
template <class T, int kStates, int kRows>
struct Chunks {
  typename Row<T>::Bits bits[kRows][kStates];

  PAGODA_DEVICE void load(const StateList<kStates>& states, int32_t num_states,
                          const MergeRows<kRows>& rows, int32_t at) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int i = 0; i < kStates; ++i) {
        if (r < rows.num_rows && i < num_states) {
          bits[r][i] = rows.of[r].template out<T>(states.of[i]).load(at);
        }
      }
    }
  }
};

// At most kStates states, all of whose lse and first chunks are under way at once.
template <class T, int kStates, int kRows>
__global__ void __launch_bounds__(kCacheThreads, kMinCtas<T>)
    merge_few_kernel(const __grid_constant__ MergeParams params,
                     const __grid_constant__ StateList<kStates> states,
                     const __grid_constant__ RowLanes lanes) {
  constexpr int kChunk = Row<T>::kChunk;
  sm90::wait_for_previous_grids();
  sm90::launch_dependent_grids();
  const ThreadPlace me(lanes, blockIdx.x);
  const MergeRows<kRows> rows(params, me.row);  // none behind the last
  const int32_t num_states = params.num_states;

  float lse[kRows][kStates];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int i = 0; i < kStates; ++i) {
      const bool exists = r < rows.num_rows && i < num_states;
      lse[r][i] = exists ? *rows.of[r].lse(states.of[i]) : -kInfinity;
    }
  }
  Chunks<T, kStates, kRows> chunks;
  if (me.unit < lanes.num_units) chunks.load(states, num_states, rows, me.unit * kChunk);
  // All lanes of a row have read its lse before one of them overwrites it.
  __syncwarp();
  float shares[kRows][kStates];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const RowShares<kStates> row(lse[r]);
#pragma unroll
    for (int i = 0; i < kStates; ++i) shares[r][i] = row.of[i];
    if (r < rows.num_rows && me.unit == 0 && params.merged.lse != nullptr) {
      *rows.of[r].lse(params.merged) = row.lse;
    }
  }
  for (int32_t unit = me.unit; unit < lanes.num_units;) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r >= rows.num_rows) break;
      float total[kChunk] = {};
#pragma unroll
      for (int i = 0; i < kStates; ++i) {
        add_share(shares[r][i], rows.of[r].template out<T>(states.of[i]), chunks.bits[r][i], total);
      }
      store_merged(params.merged.out, rows.of[r], unit * kChunk, total);
    }
    unit += lanes.lanes();
    if (unit < lanes.num_units) chunks.load(states, num_states, rows, unit * kChunk);
  }
}

// Any number of states, some at a time.
template <class T, int kMaxStates>
__global__ void __launch_bounds__(kCacheThreads)
    merge_many_kernel(const __grid_constant__ MergeParams params,
                      const __grid_constant__ StateList<kMaxStates> list,
                      const __grid_constant__ RowLanes lanes) {
  constexpr int kChunk = Row<T>::kChunk;
  constexpr int kBatch = 4;
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
        bits[i] = row.out<T>(state).load(unit * kChunk);
        lse[i] = *row.lse(state);
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        if (begin + i >= num_states) break;
        const float share = by.quotient(merge_weight(lse[i], largest));
        add_share(share, row.out<T>(list.of[begin + i]), bits[i], total);
      }
    }
    store_merged(params.merged.out, row, unit * kChunk, total);
  }
  if (params.merged.lse == nullptr) return;
  // All lanes have read the row's lse before one of them overwrites it.
  __syncwarp(row_mask(lanes, me.unit));
  if (me.unit == 0) *row.lse(params.merged) = merged_lse(largest, sum);
}

template <int kMaxStates>
using MergeKernel = void (*)(MergeParams, StateList<kMaxStates>, RowLanes);

// For a kernel whose threads take thread_tokens tokens of a head.
template <class T, int kMaxStates>
cudaError_t launch(MergeKernel<kMaxStates> kernel, int32_t thread_tokens, const MergeParams& params,
                   const MergeState* states, cudaStream_t stream) {
  StateList<kMaxStates> list{};
  std::copy_n(states, params.num_states, list.of);
  const RowLanes lanes =
      make_row_lanes(ceil_div(params.head_dim, Row<T>::kChunk),
                     static_cast<uint32_t>(ceil_div(params.num_tokens, thread_tokens)) *
                         static_cast<uint32_t>(params.num_heads));
  if (lanes.num_rows == 0) return cudaSuccess;
  return launch_dependent(
      kernel, {.ctas = dim3(lanes.num_ctas()), .threads = kCacheThreads, .smem_bytes = 0}, stream,
      params, list, lanes);
}

template <class T, int kStates, int kRows>
cudaError_t launch_few(const MergeParams& params, const MergeState* states, cudaStream_t stream) {
  return launch<T, kStates>(merge_few_kernel<T, kStates, kRows>, kRows, params, states, stream);
}

template <class T, int kMaxStates>
cudaError_t launch_many(const MergeParams& params, const MergeState* states, cudaStream_t stream) {
  return launch<T, kMaxStates>(merge_many_kernel<T, kMaxStates>, 1, params, states, stream);
}

constexpr int64_t kDeviceThreads = 132 * 2048;

// More parameters take longer to launch. Where two states leave a thread little to wait for, and
// there are threads enough, it takes two tokens.
template <class T>
cudaError_t launch_of(const MergeParams& params, const MergeState* states, cudaStream_t stream) {
  if constexpr (!std::is_same_v<T, AnyType>) {
    constexpr int kRows = 2;
    const int64_t elements = int64_t{params.num_tokens} * params.num_heads * params.head_dim;
    const bool fills_device = elements > kDeviceThreads * Row<T>::kChunk;
    if (params.num_states <= 2) {
      return fills_device ? launch_few<T, 2, kRows>(params, states, stream)
                          : launch_few<T, 2, 1>(params, states, stream);
    }
    if (params.num_states <= 4) return launch_few<T, 4, 1>(params, states, stream);
    if constexpr (kMaxChunks<T> == 8) {
      if (params.num_states <= 8) return launch_few<T, 8, 1>(params, states, stream);
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
