// From the warps' rows in shared memory to the output, to partial results, or to the total of an
// item's earlier splits; and the join of a split tile by the CTA that arrives last, in key order.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_EPILOGUE_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_EPILOGUE_CUH_

#include "cuda/kernels/attention/config.h"
#include "cuda/sm90/device.cuh"
#include "plan/item_rows.h"
#include "semantics/quant.h"
#include "semantics/softmax.h"

namespace pagoda::cuda {

// a <- join(a, b), rows of head_dim `stride` floats apart, each by one warp: row r by warp r %
// kWarps, here and below.
template <class Config>
PAGODA_DEVICE void join_rows(Rows a, int a_stride, Rows b, int b_stride, int num_rows,
                             int32_t head_dim) {
  const int warp = threadIdx.x / 32;
  for (int row = warp; row < num_rows; row += Config::kWarps) {
    const SoftmaxJoin joined = join(a.state[row], b.state[row]);
    for (int d = threadIdx.x % 32; d < head_dim; d += 32) {
      float& x = a.out[row * a_stride + d];
      x = x * joined.a_factor + b.out[row * b_stride + d] * joined.b_factor;
    }
    __syncwarp();
    if (threadIdx.x % 32 == 0) a.state[row] = joined.joined;
    __syncwarp();
  }
}

template <class Config>
PAGODA_DEVICE void copy_rows(Rows to, int to_stride, Rows from, int from_stride, int num_rows,
                             int32_t head_dim) {
  const int warp = threadIdx.x / 32;
  for (int row = warp; row < num_rows; row += Config::kWarps) {
    for (int d = threadIdx.x % 32; d < head_dim; d += 32) {
      to.out[row * to_stride + d] = from.out[row * from_stride + d];
    }
    if (threadIdx.x % 32 == 0) to.state[row] = from.state[row];
  }
}

// Normalises rows and writes them, and their lse, to where the problem wants them.
template <class Config>
PAGODA_DEVICE void finish_rows(const AttentionParams& params, const ItemRows& rows, int32_t kv_head,
                               Rows from, int stride) {
  const int warp = threadIdx.x / 32;
  const float scale = output_scale(params, rows.seq, kv_head);
  for (int row = warp; row < rows.num_rows; row += Config::kWarps) {
    const int32_t q_head = rows.q_head(kv_head, row);
    const int32_t token = rows.first_token + rows.q_idx(row);
    const SoftmaxResult result = finalize(from.state[row], Sink::value(params.score, q_head));
    // A row that sees nothing is 0 whatever the scales are.
    const float factor = result.output_factor == 0.0f ? 0.0f : result.output_factor * scale;
    const int64_t offset = row_offset(params.out, token, q_head);
    for (int d = threadIdx.x % 32; d < params.head_dim; d += 32) {
      store_element(params.out.data, params.out.dtype, offset + d,
                    from.out[row * stride + d] * factor);
    }
    if (params.lse != nullptr && threadIdx.x % 32 == 0) {
      params.lse[token * params.lse_token_stride + q_head * params.lse_head_stride] = result.lse;
    }
  }
}

PAGODA_DEVICE Rows rows_from(Rows rows, int64_t row, int32_t head_dim) {
  return {rows.out + row * head_dim, rows.state + row};
}

// Counts this CTA in; true in the one that arrives last, which then sees all partial results.
PAGODA_DEVICE bool arrive(int32_t* arrivals, int32_t expected, int32_t* smem_flag) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    const bool last = atomicAdd(arrivals, 1) + 1 == expected;
    if (last) *arrivals = 0;  // for the next kernel
    *smem_flag = last;
  }
  __syncthreads();
  const bool last = *smem_flag != 0;
  if (last) __threadfence();
  return last;
}

// Joins all partial results of a merge group into its first, and writes the output.
template <class Config>
PAGODA_DEVICE void merge_group(const AttentionParams& params, const ItemRows& rows,
                               const Work& work, const MergeGroup& group) {
  const int32_t head_dim = params.head_dim;
  const Rows total = rows_from(work.partials, group.partial_row, head_dim);
  for (int32_t i = 1; i < group.num_partials; ++i) {
    const Rows part =
        rows_from(work.partials, group.partial_row + int64_t{i} * group.num_rows, head_dim);
    join_rows<Config>(total, head_dim, part, head_dim, group.num_rows, head_dim);
  }
  // A row is joined and finished by one warp, so no barrier is needed in between.
  finish_rows<Config>(params, rows, group.kv_head, total, head_dim);
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_EPILOGUE_CUH_
