// Query rows on their way from global memory, for one KV head; rows and channels that are not there
// are zeros.
//
// Beside 8-bit K and V every query becomes f16. The channels of a group of 16 are in the order in
// which K's operands have theirs: 0, 1, 4, 5, 8, 9, 12, 13, 2, 3, ...
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_QUERY_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_QUERY_CUH_

#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/to_f16.cuh"
#include "cuda/sm90/convert.cuh"
#include "cuda/sm90/ldst.cuh"
#include "plan/item_rows.h"

namespace pagoda::cuda {

using sm90::smem_address;

// Where row `row` of an item begins, in elements.
PAGODA_DEVICE int64_t query_offset(const AttentionParams& params, const ItemRows& rows,
                                   int32_t kv_head, int row) {
  return row_offset(params.q, rows.first_token + rows.q_idx(row), rows.q_head(kv_head, row));
}

// 16-bit rows as they are, by all math threads.
template <class Config>
PAGODA_DEVICE void load_query(const AttentionParams& params, const ItemRows& rows, int32_t kv_head,
                              QueryTile<Config>& tile) {
  using Tile = QueryTile<Config>;
  const auto* q = static_cast<const typename Config::T*>(params.q.data);
  const uint32_t smem = smem_address(tile.bytes);
  for (int i = threadIdx.x; i < kTileRows * Tile::kChunks; i += Config::kMathThreads) {
    const int row = i / Tile::kChunks;
    const int chunk = i % Tile::kChunks;
    const bool there = row < rows.num_rows && chunk * 8 < params.head_dim;
    const int64_t offset = there ? query_offset(params, rows, kv_head, row) + chunk * 8 : 0;
    sm90::cp_async_16(smem + Tile::chunk_offset(row, chunk), q + offset, there ? 16 : 0);
  }
  sm90::cp_async_commit();
  sm90::cp_async_wait<0>();
}

// Four channels from element `at` on as two pairs: bf16 as it is, everything else as f16. Pairs are
// loaded one by one, for they become parts of different operands.
PAGODA_DEVICE void load_four_channels(const RowsParams& q, int64_t at, uint32_t& low,
                                      uint32_t& high) {
  if (q.dtype == DType::kFloat8E4M3) {
    const auto* bytes = static_cast<const uint8_t*>(q.data) + at;
    low = sm90::e4m3x2_to_f16x2(*reinterpret_cast<const uint16_t*>(bytes));
    high = sm90::e4m3x2_to_f16x2(*reinterpret_cast<const uint16_t*>(bytes + 2));
  } else {
    const auto* pairs =
        reinterpret_cast<const uint32_t*>(static_cast<const uint16_t*>(q.data) + at);
    low = pairs[0];
    high = pairs[1];
  }
}

// Rows that become f16, each by a warp.
template <class Config>
PAGODA_DEVICE void load_query_as_f16(const AttentionParams& params, const ItemRows& rows,
                                     int32_t kv_head, QueryTile<Config>& tile,
                                     float (&unit)[kTileRows]) {
  constexpr int kVectors = Config::kHeadDim / 128;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const bool is_bf16 = params.q.dtype == DType::kBFloat16;
  for (int row = threadIdx.x / 32; row < kTileRows; row += Config::kMathWarps) {
    uint32_t pairs[kVectors][2] = {};
    float largest = 0.0f;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int channel = 128 * v + 4 * lane;
      if (row >= rows.num_rows || channel >= params.head_dim) continue;
      load_four_channels(params.q, query_offset(params, rows, kv_head, row) + channel, pairs[v][0],
                         pairs[v][1]);
      largest = fmaxf(largest, fmaxf(largest_finite(pairs[v][0]), largest_finite(pairs[v][1])));
    }
    float factor = 1.0f;
    if (is_bf16) {
      factor =
          f16_factor(__uint_as_float(__reduce_max_sync(0xffffffffu, __float_as_uint(largest))));
    }
    if (lane == 0) unit[row] = 1.0f / factor;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint32_t at = QueryTile<Config>::chunk_offset(row, 16 * v + lane / 4 * 2 + i) +
                            static_cast<uint32_t>(lane % 4) * 4;
        *reinterpret_cast<uint32_t*>(tile.bytes + at) =
            is_bf16 ? bf16_to_f16_pair(pairs[v][i], factor) : pairs[v][i];
      }
    }
  }
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_QUERY_CUH_
