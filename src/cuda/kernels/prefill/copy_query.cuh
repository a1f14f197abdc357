// Query rows on their way into a tile.
#ifndef PAGODA_CUDA_KERNELS_PREFILL_COPY_QUERY_CUH_
#define PAGODA_CUDA_KERNELS_PREFILL_COPY_QUERY_CUH_

#include "cuda/kernels/prefill/config.h"
#include "cuda/sm90/ldst.cuh"

namespace pagoda::cuda {

// Calls copy(row, column, from, there) for each 8 channels that the lane has of the warp's part of
// a query tile: where they go to, and where they lie in q if they are there.
template <class Config, class Copy>
PAGODA_DEVICE void for_each_query_chunk(const AttentionParams& params, const PieceSlot& slot,
                                        int warp, Copy&& copy) {
  constexpr int kRows = Config::kTileRows / Config::kQueryWarps;
  static_assert(kRows % 32 == 0);
  constexpr int kChunks = Config::kHeadDim / 8;
  constexpr int kRowsAtOnce = 32 / kChunks;
  constexpr int kUnrolled = Config::kKv8Bit ? 1 : 4;  // as registers allow
  const int lane = static_cast<int>(threadIdx.x % 32);
  // Where row 32 * i + lane of the warp's lies; -1: nowhere.
  int64_t offset[kRows / 32];
#pragma unroll
  for (int i = 0; i < kRows / 32; ++i) {
    const int row = kRows * warp + 32 * i + lane;
    offset[i] = row < slot.rows.num_rows
                    ? row_offset(params.q, slot.rows.first_token + slot.rows.q_idx(row),
                                 slot.rows.q_head(slot.piece.kv_head, row))
                    : -1;
  }
  const int column = lane % kChunks * 8;
#pragma unroll
  for (int i = 0; i < kRows / 32; ++i) {
#pragma unroll kUnrolled
    for (int first = 0; first < 32; first += kRowsAtOnce) {
      const int row = first + lane / kChunks;
      const int64_t from = __shfl_sync(0xffffffffu, offset[i], row);
      const bool there = from >= 0 && column < params.head_dim;
      copy(kRows * warp + 32 * i + row, column, there ? from + column : 0, there);
    }
  }
}

// Begins to copy 16-bit rows as they are; rows and channels that are not there are zeros.
template <class Config>
PAGODA_DEVICE void copy_query(const AttentionParams& params, const PieceSlot& slot, int warp,
                              typename Config::QueryTile& tile) {
  const auto* q = static_cast<const uint16_t*>(params.q.data);
  for_each_query_chunk<Config>(
      params, slot, warp, [&](int row, int column, int64_t from, bool there) {
        sm90::cp_async_16(tile.address(row, column), q + from, there ? 16 : 0);
      });
  sm90::cp_async_commit();
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PREFILL_COPY_QUERY_CUH_
