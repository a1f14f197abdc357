// A worker's way through a queue of whole units.
#ifndef PAGODA_CUDA_KERNELS_UNIT_WALK_CUH_
#define PAGODA_CUDA_KERNELS_UNIT_WALK_CUH_

#include "cuda/kernels/piece.h"
#include "cuda/kernels/warp_search.cuh"
#include "cuda/kernels/work.h"
#include "cuda/sm90/device.cuh"
#include "plan/unit_queue.h"

namespace pagoda::cuda {

class UnitWalk {
 public:
  // All lanes of one warp call this, next() and finish() together. `first`: what the plan gave the
  // CTA to begin with.
  PAGODA_DEVICE UnitWalk(const AttentionParams& params, const Work& work, const UnitQueue& queue,
                         const ShareBound& first)
      : params_(params), work_(work), num_units_(queue.num_units), unit_(first) {}

  PAGODA_DEVICE bool done() const { return unit_.unit >= num_units_; }

  PAGODA_DEVICE Piece piece() const {
    Piece piece{};
    piece.shape = unit_.shape;
    const int32_t packed_rows = piece.shape.q_len * params_.group;
    piece.route = route_of(work_.config, packed_rows);
    piece.row_begin = unit_.row_begin;
    piece.num_rows = min_of(work_.tile_rows, packed_rows - piece.row_begin);
    piece.kv_head = unit_.kv_head;
    piece.kv =
        rows_visible(params_, piece.shape, piece.row_begin, piece.row_begin + piece.num_rows - 1);
    piece.first_worker = -1;
    piece.num_pieces = 1;
    return piece;
  }

  PAGODA_DEVICE void next() {
    const int32_t taken = take();
    if (taken >= num_units_) {
      unit_.unit = num_units_;
      return;
    }
    const int32_t seq = last_not_above_in_warp(work_.tile_begin, params_.num_seqs,
                                               queued_tile(params_, num_units_, taken));
    unit_ = queued_unit(params_, sequence_shape(params_, seq), work_.tile_begin[seq],
                        work_.tile_begin[seq + 1], work_.tile_rows, num_units_, taken);
  }

  // The last CTA leaves the queue as it was.
  PAGODA_DEVICE void finish() {
    if (threadIdx.x % 32 != 0) return;
    if (atomicAdd(&work_.queue->num_finished_ctas, 1) + 1 == static_cast<int32_t>(gridDim.x)) {
      work_.queue->num_taken = work_.queue->num_workers;
      work_.queue->num_finished_ctas = 0;
    }
  }

 private:
  PAGODA_DEVICE int32_t take() const {
    int32_t taken = 0;
    if (threadIdx.x % 32 == 0) taken = atomicAdd(&work_.queue->num_taken, 1);
    return __shfl_sync(0xffffffffu, taken, 0);
  }

  const AttentionParams& params_;
  const Work& work_;
  const int32_t num_units_;
  ShareBound unit_;
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_UNIT_WALK_CUH_
