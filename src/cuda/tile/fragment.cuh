// A warp's or warpgroup's share of a matrix of f32 sums, as mma.sync and wgmma leave it in
// registers.
#ifndef PAGODA_CUDA_TILE_FRAGMENT_CUH_
#define PAGODA_CUDA_TILE_FRAGMENT_CUH_

#include "core/arith.h"
#include "cuda/sm90/convert.cuh"
#include "cuda/sm90/device.cuh"

namespace pagoda::tile {

// One thread's sums of a matrix of kCols columns. A warp holds 16 rows, so mma.sync tiles have 16
// and wgmma tiles 64; a thread holds two rows of its warp's 16, called 0 and 1, and in each the
// columns 8 * n + 2 * (lane % 4) + {0, 1}. The four lanes of a quad share their rows.
template <int kCols>
struct Fragment {
  static constexpr int kSize = kCols / 2;
  static constexpr int kRowsPerThread = 2;
  static constexpr int kRowChains = kCols >= 64 ? 4 : 1;

  float at[kSize];

  // Which of the thread's two rows sum `i` belongs to.
  PAGODA_HD static constexpr int row_slot(int i) { return (i >> 1) & 1; }

  // The row within the tile; `thread` counts from the first thread that shares the tile.
  PAGODA_HD static constexpr int row_of(int i, int thread) {
    return thread / 32 * 16 + thread % 32 / 4 + 8 * row_slot(i);
  }

  PAGODA_HD static constexpr int col_of(int i, int thread) {
    return 8 * (i >> 2) + 2 * (thread % 4) + (i & 1);
  }

  // The sums of columns 8 * n ... 8 * n + 7, as one mma.sync takes them.
  PAGODA_DEVICE float (&mma_sums(int n))[4] { return *reinterpret_cast<float(*)[4]>(&at[4 * n]); }

  PAGODA_DEVICE void fill(float x) {
#pragma unroll
    for (int i = 0; i < kSize; ++i) at[i] = x;
  }

  PAGODA_DEVICE void scale_row(int slot, float factor) {
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      if (row_slot(i) == slot) at[i] *= factor;
    }
  }

  // Over this thread's columns of a row, starting from `initial`; quad_max() completes it.
  PAGODA_DEVICE float row_max(int slot, float initial) const {
    // Several chains, for each waits for its last step.
    float result[kRowChains];
#pragma unroll
    for (int c = 0; c < kRowChains; ++c) result[c] = initial;
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      if (row_slot(i) != slot) continue;
      float& chain = result[i / 4 % kRowChains];
      chain = fmaxf(chain, at[i]);
    }
#pragma unroll
    for (int c = 1; c < kRowChains; ++c) result[0] = fmaxf(result[0], result[c]);
    return result[0];
  }

  // Over this thread's columns of a row; quad_sum() completes it.
  PAGODA_DEVICE float row_sum(int slot) const {
    float result = 0.0f;
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      if (row_slot(i) == slot) result += at[i];
    }
    return result;
  }

  // Columns 16 * slice ... 16 * slice + 15, rounded to T, as the A operand of a product whose k is
  // this matrix's column: for mma.sync m16n8k16 and for wgmma with A in registers.
  template <class T>
  PAGODA_DEVICE void to_a_operand(int slice, uint32_t (&a)[4]) const {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      a[r] = sm90::pack_pair<T>(at[8 * slice + 2 * r], at[8 * slice + 2 * r + 1]);
    }
  }
};

// The maximum over the four lanes that share a row.
PAGODA_DEVICE float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffff, x, 2));
}

// The sum over the four lanes that share a row.
PAGODA_DEVICE float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffff, x, 1);
  return x + __shfl_xor_sync(0xffffffff, x, 2);
}

}  // namespace pagoda::tile

#endif  // PAGODA_CUDA_TILE_FRAGMENT_CUH_
