// The lanes of a row take the same units of K and of V, which keeps four loads under way in each.
#include "cuda/kernels/cache/gather_kv_cache.h"

#include "core/paged_kv.h"
#include "cuda/kernels/cache/row.cuh"
#include "cuda/kernels/launch.h"
#include "cuda/sm90/sync.cuh"

namespace pagoda::cuda {
namespace {

// The last sequence that begins at or before `row`, which is before the last one's end.
PAGODA_DEVICE int32_t sequence_of(const int32_t* cu_seqlens, int32_t num_seqs, int32_t row) {
  int32_t low = 0;
  int32_t high = num_seqs - 1;
  while (low < high) {
    const int32_t middle = high - (high - low) / 2;
    if (cu_seqlens[middle] <= row) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

struct Scale {
  ScaleParams by_head;
  TokenScaleParams by_token;

  PAGODA_DEVICE float of(int32_t seq, TokenSlot slot, int32_t kv_head) const {
    return by_token.data != nullptr ? *scale_address(by_token, slot, kv_head)
                                    : scale_of(by_head, seq, kv_head);
  }
};

template <class In, class Out>
PAGODA_DEVICE void store(const Row<In>& in, const UnitBits<In>& bits, const Row<Out>& out,
                         const UnitPlace& at, bool is_copy, float scale) {
  if constexpr (std::is_same_v<In, Out>) {
    if (is_copy) {
      bits.store(out, at);
      return;
    }
  }
  UnitValues<Row<In>::kChunk> x(in, bits);
#pragma unroll
  for (int i = 0; i < Row<In>::kChunk; ++i) {
    x.first[i] *= scale;
    x.second[i] *= scale;
  }
  x.store(out, at);
}

template <class In, class Out>
__global__ void __launch_bounds__(kCacheThreads)
    gather_kv_cache_kernel(const __grid_constant__ GatherParams params,
                           const __grid_constant__ RowLanes lanes) {
  constexpr int kChunk = Row<In>::kChunk;
  sm90::wait_for_previous_grids();
  sm90::launch_dependent_grids();
  const ThreadPlace me(lanes, blockIdx.x);
  const auto heads = static_cast<uint32_t>(params.num_kv_heads);
  const auto row = static_cast<int32_t>(me.row / heads);
  const auto head = static_cast<int32_t>(me.row % heads);
  if (row >= min_of(params.cu_seqlens[params.num_seqs], params.num_rows)) return;

  const PagedKvParams& kv = params.kv;
  const int32_t seq = sequence_of(params.cu_seqlens, params.num_seqs, row);
  const int32_t start = params.seq_starts != nullptr ? params.seq_starts[seq] : 0;
  const TokenSlot slot =
      token_slot(page_ids(kv.block_table, seq), kv.page_size, start + row - params.cu_seqlens[seq]);
  const auto out_row = [&](const RowsParams& rows) -> Row<Out> {
    return {rows.data, rows.dtype, row * rows.token_stride + head * rows.head_stride};
  };
  const Row<In> k_in(kv.k.data, kv.dtype, row_offset(kv.k, slot, head));
  const Row<In> v_in(kv.v.data, kv.dtype, row_offset(kv.v, slot, head));
  const Row<Out> k_out = out_row(params.k_out);
  const Row<Out> v_out = out_row(params.v_out);
  const bool is_copy = kv.dtype == params.k_out.dtype;
  float k_scale = 1.0f;
  float v_scale = 1.0f;
  if (!is_copy) {
    k_scale = Scale{kv.k_scale, kv.k_token_scale}.of(seq, slot, head);
    v_scale = Scale{kv.v_scale, kv.v_token_scale}.of(seq, slot, head);
  }
  const RowUnits units{params.head_dim, 0, false};
  for (int32_t unit = me.unit; unit < lanes.num_units; unit += lanes.lanes()) {
    const UnitPlace at = unit_place(units, kChunk, unit);
    const UnitBits<In> k_bits(k_in, at);
    const UnitBits<In> v_bits(v_in, at);
    store(k_in, k_bits, k_out, at, is_copy, k_scale);
    store(v_in, v_bits, v_out, at, is_copy, v_scale);
  }
}

template <class In, class Out>
cudaError_t launch(const GatherParams& params, cudaStream_t stream) {
  const RowUnits units{params.head_dim, 0, false};
  const RowLanes lanes =
      make_row_lanes(units.count(Row<In>::kChunk), static_cast<uint32_t>(params.num_rows) *
                                                       static_cast<uint32_t>(params.num_kv_heads));
  return launch_dependent(
      gather_kv_cache_kernel<In, Out>,
      {.ctas = dim3(lanes.num_ctas()), .threads = kCacheThreads, .smem_bytes = 0}, stream, params,
      lanes);
}

// Rows of the pages' type: only its size counts.
cudaError_t launch_copy(const GatherParams& params, cudaStream_t stream) {
  switch (size_of(params.kv.dtype)) {
    case 4:
      return launch<float, float>(params, stream);
    case 2:
      return launch<BFloat16, BFloat16>(params, stream);
    default:
      return launch<int8_t, int8_t>(params, stream);
  }
}

template <class Out>
cudaError_t launch_to(const GatherParams& params, cudaStream_t stream) {
  switch (params.kv.dtype) {
    case DType::kFloat32:
      return launch<float, Out>(params, stream);
    case DType::kFloat16:
      return launch<Float16, Out>(params, stream);
    case DType::kBFloat16:
      return launch<BFloat16, Out>(params, stream);
    case DType::kFloat8E4M3:
      return launch<Float8E4M3, Out>(params, stream);
    case DType::kFloat8E5M2:
      return launch<Float8E5M2, Out>(params, stream);
    default:
      return launch<int8_t, Out>(params, stream);
  }
}

}  // namespace

cudaError_t launch_gather_kv_cache(const GatherParams& params, cudaStream_t stream) {
  if (params.num_rows == 0 || params.num_seqs == 0) return cudaSuccess;
  if (!params.in_vectors) return launch<AnyType, AnyType>(params, stream);
  if (params.kv.dtype == params.k_out.dtype) return launch_copy(params, stream);
  switch (params.k_out.dtype) {
    case DType::kFloat32:
      return launch_to<float>(params, stream);
    case DType::kFloat16:
      return launch_to<Float16>(params, stream);
    default:
      return launch_to<BFloat16>(params, stream);
  }
}

}  // namespace pagoda::cuda
