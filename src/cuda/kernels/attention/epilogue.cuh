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

// One row of all partial results of a merge group, joined in key order into row `row` of `to`, by
// one warp. Joining is a chain, but neither states nor outputs need to wait for it: the states of
// 32 partials are loaded at once, one a lane, and the outputs of kAhead.
template <class Config>
PAGODA_DEVICE void join_partials(const Work& work, const MergeGroup& group, int row,
                                 int32_t head_dim, Rows to) {
  constexpr int kAhead = 4;
  constexpr int kColumns = Config::kHeadDim / 32;
  const int lane = threadIdx.x % 32;
  SoftmaxState total;
  float out[kColumns] = {};
  for (int32_t first = 0; first < group.num_partials; first += 32) {
    const int32_t count = min_of(32, group.num_partials - first);
    const int64_t first_row = group.partial_row + int64_t{first} * group.num_rows + row;
    const SoftmaxState mine =
        work.partials.state[first_row + int64_t{min_of(lane, count - 1)} * group.num_rows];
    for (int32_t i = 0; i < count; i += kAhead) {
      float part[kAhead][kColumns];
      for (int j = 0; j < kAhead; ++j) {
        const float* from =
            work.partials.out +
            (first_row + int64_t{min_of(i + j, count - 1)} * group.num_rows) * head_dim;
        for (int c = 0; c < kColumns; ++c) {
          const int d = 32 * c + lane;
          part[j][c] = d < head_dim ? from[d] : 0.0f;
        }
      }
      for (int j = 0; j < kAhead; ++j) {
        const SoftmaxState state{__shfl_sync(0xffffffffu, mine.max_log2, (i + j) % 32),
                                 __shfl_sync(0xffffffffu, mine.sum, (i + j) % 32)};
        if (i + j >= count) continue;
        const SoftmaxJoin joined = join(total, state);
        total = joined.joined;
        for (int c = 0; c < kColumns; ++c) {
          out[c] = out[c] * joined.a_factor + part[j][c] * joined.b_factor;
        }
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) to.out[row * Config::kHeadDim + 32 * c + lane] = out[c];
  if (lane == 0) to.state[row] = total;
  __syncwarp();
}

// Joins all partial results of a merge group and writes the output. A row is joined and finished by
// one warp, so no barrier is needed in between.
template <class Config>
PAGODA_DEVICE void merge_group(const AttentionParams& params, const ItemRows& rows,
                               const Work& work, const MergeGroup& group, Rows scratch) {
  for (int row = threadIdx.x / 32; row < group.num_rows; row += Config::kWarps) {
    join_partials<Config>(work, group, row, params.head_dim, scratch);
  }
  finish_rows<Config>(params, rows, group.kv_head, scratch, Config::kHeadDim);
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_EPILOGUE_CUH_
