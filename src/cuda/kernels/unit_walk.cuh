// A worker's way through a queue of whole units.
#ifndef PAGODA_CUDA_KERNELS_UNIT_WALK_CUH_
#define PAGODA_CUDA_KERNELS_UNIT_WALK_CUH_

#include "cuda/kernels/piece.h"
#include "cuda/kernels/work.h"
#include "cuda/sm90/device.cuh"

namespace pagoda::cuda {

class UnitWalk {
 public:
  // All lanes of one warp call this, next() and finish() together. A CTA's first unit is the one of
  // its number; later ones are those that nobody has taken yet.
  PAGODA_DEVICE UnitWalk(const AttentionParams& params, const Work& work)
      : params_(params), work_(work), num_units_(work.queue->num_units) {
    const auto cta = static_cast<int32_t>(blockIdx.x);
    taken_ = cta < work.queue->num_workers ? cta : num_units_;
  }

  PAGODA_DEVICE bool done() const { return taken_ >= num_units_; }

  PAGODA_DEVICE Piece piece() const {
    const int32_t seq = find_sequence((num_units_ - 1 - taken_) / params_.num_kv_heads);
    Piece piece{};
    piece.shape = sequence_shape(params_, seq);
    const int32_t packed_rows = piece.shape.q_len * params_.group;
    const SequenceUnit unit =
        sequence_unit(piece.shape.k_len, work_.tile_begin[seq], work_.tile_begin[seq + 1]);
    piece.route = route_of(work_.config, packed_rows);
    piece.row_begin = unit.tile * work_.tile_rows;
    piece.num_rows = min_of(work_.tile_rows, packed_rows - piece.row_begin);
    piece.kv_head = unit.kv_head;
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
      work_.queue->num_taken = work_.queue->num_workers;
      work_.queue->num_finished_ctas = 0;
    }
  }

 private:
  struct SequenceUnit {
    int32_t tile;  // of the sequence
    int32_t kv_head;
  };

  // Sequences from the back. In one as many heads at a time as have room for K and V in L2, where
  // all CTAs then find them; of these the last row tiles first, which are the long ones if it is
  // causal.
  PAGODA_DEVICE SequenceUnit sequence_unit(int32_t k_len, int32_t tile_begin,
                                           int32_t tile_end) const {
    const int32_t num_heads = params_.num_kv_heads;
    const int32_t num_tiles = tile_end - tile_begin;
    const int32_t index = taken_ - (num_units_ - tile_end * num_heads);
    const int32_t num_sections =
        min_of(1 + static_cast<int32_t>(kv_bytes(k_len) / kSectionBytes), num_heads);
    const int32_t section_heads = ceil_div(num_heads, num_sections);
    const int32_t section = index / (num_tiles * section_heads);
    const int32_t first_head = section * section_heads;
    const int32_t heads_here = min_of(section_heads, num_heads - first_head);
    const int32_t at = index - num_tiles * first_head;
    return {num_tiles - 1 - at / heads_here, first_head + at % heads_here};
  }

  // Of all heads' keys and values.
  PAGODA_DEVICE int64_t kv_bytes(int32_t k_len) const {
    return int64_t{2} * k_len * params_.num_kv_heads * params_.head_dim *
           static_cast<int64_t>(size_of(params_.kv.dtype));
  }

  // Half of L2: its halves copy what their SMs read from the other's memory.
  static constexpr int64_t kSectionBytes = 24 << 20;

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
