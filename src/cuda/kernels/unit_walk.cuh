// A worker's way through a queue of whole units.
#ifndef PAGODA_CUDA_KERNELS_UNIT_WALK_CUH_
#define PAGODA_CUDA_KERNELS_UNIT_WALK_CUH_

#include "cuda/kernels/piece.h"
#include "cuda/kernels/work.h"
#include "cuda/sm90/device.cuh"

namespace pagoda::cuda {

class UnitWalk {
 public:
  // All lanes of one warp call this, next() and finish() together.
  PAGODA_DEVICE UnitWalk(const AttentionParams& params, const Work& work)
      : params_(params), work_(work), num_units_(work.queue->num_units), taken_(num_units_) {
    if (static_cast<int32_t>(blockIdx.x) < work.queue->num_workers) taken_ = take();
  }

  PAGODA_DEVICE bool done() const { return taken_ >= num_units_; }

  // From the back: in a causal sequence the last row tiles are the long ones.
  PAGODA_DEVICE Piece piece() const {
    const int32_t unit = num_units_ - 1 - taken_;
    const int32_t tile = unit / params_.num_kv_heads;
    const int32_t seq = find_sequence(tile);
    Piece piece{};
    piece.shape = sequence_shape(params_, seq);
    const int32_t packed_rows = piece.shape.q_len * params_.group;
    piece.route = route_of(work_.config, packed_rows);
    piece.row_begin = (tile - work_.tile_begin[seq]) * work_.tile_rows;
    piece.num_rows = min_of(work_.tile_rows, packed_rows - piece.row_begin);
    piece.kv_head = unit % params_.num_kv_heads;
    piece.kv =
        rows_visible(params_, piece.shape, piece.row_begin, piece.row_begin + piece.num_rows - 1);
    piece.first_worker = -1;
    piece.num_pieces = 1;
    return piece;
  }

  PAGODA_DEVICE void next() { taken_ = take(); }

  // The last CTA leaves the queue as it was.
  PAGODA_DEVICE void finish() {
    if (threadIdx.x % 32 != 0) return;
    if (atomicAdd(&work_.queue->num_finished_ctas, 1) + 1 == static_cast<int32_t>(gridDim.x)) {
      work_.queue->num_taken = 0;
      work_.queue->num_finished_ctas = 0;
    }
  }

 private:
  PAGODA_DEVICE int32_t take() const {
    int32_t taken = 0;
    if (threadIdx.x % 32 == 0) taken = atomicAdd(&work_.queue->num_taken, 1);
    return __shfl_sync(0xffffffffu, taken, 0);
  }

  // The last sequence with tile_begin <= tile: each step asks 32 places at once.
  PAGODA_DEVICE int32_t find_sequence(int32_t tile) const {
    const int32_t lane = static_cast<int32_t>(threadIdx.x % 32);
    int32_t low = 0;
    int32_t count = params_.num_seqs;
    while (count > 1) {
      const int32_t step = ceil_div(count, 32);
      const int32_t at = low + min_of(lane * step, count - 1);
      const uint32_t not_above =
          __ballot_sync(0xffffffffu, lane * step < count && work_.tile_begin[at] <= tile);
      const int32_t last = 31 - __clz(static_cast<int>(not_above));
      low += last * step;
      count = min_of(step, count - last * step);
    }
    return low;
  }

  const AttentionParams& params_;
  const Work& work_;
  const int32_t num_units_;
  int32_t taken_;
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_UNIT_WALK_CUH_
