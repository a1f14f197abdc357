// Pieces on their way from the warp that walks a worker's share to those that work on them, some
// pieces behind it.
#ifndef PAGODA_CUDA_KERNELS_PIECE_RING_CUH_
#define PAGODA_CUDA_KERNELS_PIECE_RING_CUH_

#include "cuda/kernels/piece.h"
#include "cuda/tile/pipeline.cuh"
#include "plan/item_rows.h"

namespace pagoda::cuda {

struct PieceSlot {
  Piece piece;
  ItemRows rows;
  bool is_end;  // no piece; there are no more
};

// Lives in shared memory.
template <int kPieces>
struct PieceRing {
  tile::Pipeline<kPieces> ring;
  PieceSlot slots[kPieces];

  // By one thread; then a CTA barrier. `num_users`: threads that call for_each_piece().
  PAGODA_DEVICE void init(uint32_t num_users) { ring.init(1, num_users); }
};

// The walking warp's end of a ring. All its lanes call together.
template <int kPieces>
class PiecePublisher {
 public:
  PAGODA_DEVICE explicit PiecePublisher(PieceRing<kPieces>& pieces) : pieces_(pieces) {}

  // Returns where it is, for a walking warp that works on it too.
  PAGODA_DEVICE tile::PipelineCursor<kPieces> publish(const AttentionParams& params,
                                                      const Piece& piece) {
    const tile::PipelineCursor<kPieces> cursor = cursor_;
    fill([&](PieceSlot& slot) {
      slot.piece = piece;
      slot.rows = ItemRows(params, piece.shape, piece.row_begin, piece.num_rows);
      slot.is_end = false;
    });
    return cursor;
  }

  PAGODA_DEVICE void finish() {
    fill([](PieceSlot& slot) { slot.is_end = true; });
  }

 private:
  template <class Fill>
  PAGODA_DEVICE void fill(Fill&& fill) {
    pieces_.ring.acquire(cursor_);
    if (threadIdx.x % 32 == 0) {
      fill(pieces_.slots[cursor_.stage]);
      sm90::arrive(pieces_.ring.full(cursor_));
    }
    __syncwarp();
    cursor_.advance();
  }

  PieceRing<kPieces>& pieces_;
  tile::PipelineCursor<kPieces> cursor_;
};

// Calls use(slot, cursor) for each piece that is published.
template <int kPieces, class Use>
PAGODA_DEVICE void for_each_piece(PieceRing<kPieces>& pieces, Use&& use) {
  for (tile::PipelineCursor<kPieces> cursor;; cursor.advance()) {
    pieces.ring.wait(cursor);
    const PieceSlot& slot = pieces.slots[cursor.stage];
    if (slot.is_end) return;
    use(slot, cursor);
    pieces.ring.release(cursor);
  }
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PIECE_RING_CUH_
