// What a worker does at a time: one (row tile, head) over all or some of its keys.
#ifndef PAGODA_CUDA_KERNELS_PIECE_H_
#define PAGODA_CUDA_KERNELS_PIECE_H_

#include "plan/share.h"

namespace pagoda::cuda {

struct Piece {
  SequenceShape shape;
  Route route;
  int32_t row_begin;
  int32_t num_rows;
  int32_t kv_head;
  KvRange kv;
  TileCells cells;           // of the whole unit; under a fixed split only
  int32_t num_cells_before;  // the unit's cells that lie before this piece's
  int32_t first_worker;      // that has a piece of the unit; -1: this is all of it
  int32_t num_pieces;
  int32_t index;  // of this piece among them
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PIECE_H_
