// What of a piece is computed at a time.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_CELLS_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_CELLS_CUH_

#include "core/arith.h"
#include "cuda/kernels/piece.h"
#include "cuda/sm90/device.cuh"

namespace pagoda::cuda {

PAGODA_DEVICE bool has_cells(const AttentionParams& params) {
  return params.split_policy == SplitPolicy::kFixed;
}

// Calls use(cell, kv) once with all keys, but under a fixed split with those of each cell.
template <class Use>
PAGODA_DEVICE void for_each_cell(const AttentionParams& params, const Piece& piece, Use&& use) {
  int32_t cell = 0;
  KvRange rest = piece.kv;
  do {
    KvRange kv = rest;
    if (has_cells(params)) {
      const int64_t end = (int64_t{piece.cells.first_cell} + piece.num_cells_before + cell + 1) *
                          piece.cells.cell_keys;
      kv.end = static_cast<int32_t>(min_of(end, int64_t{rest.end}));
    }
    use(cell, kv);
    rest.begin = kv.end;
    ++cell;
  } while (!rest.empty());
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_CELLS_CUH_
