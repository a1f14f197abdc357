// A worker's way along its share of the batch's line, piece by piece.
#ifndef PAGODA_CUDA_KERNELS_SHARE_WALK_CUH_
#define PAGODA_CUDA_KERNELS_SHARE_WALK_CUH_

#include "cuda/kernels/piece.h"
#include "cuda/kernels/work.h"
#include "cuda/sm90/device.cuh"

namespace pagoda::cuda {

class ShareWalk {
 public:
  // All lanes of one warp call this and next() together.
  PAGODA_DEVICE ShareWalk(const AttentionParams& params, const Work& work, int32_t worker)
      : params_(params), work_(work), worker_(worker) {
    const ShareBound& begin = work.bounds[worker];
    const ShareBound& end = work.bounds[worker + 1];
    shape_ = begin.shape;
    row_begin_ = begin.row_begin;
    kv_head_ = begin.kv_head;
    unit_ = begin.unit;
    kv_split_ = begin.kv_split;
    group_ = {begin.first_worker, begin.num_pieces};
    end_unit_ = end.unit;
    end_split_ = end.kv_split;
    end_group_ = {end.first_worker, end.num_pieces};
    if (!done()) load_lengths(shape_.seq);
  }

  PAGODA_DEVICE bool done() const {
    return unit_ > end_unit_ || (unit_ == end_unit_ && end_group_.first_worker < 0);
  }

  PAGODA_DEVICE Piece piece() const {
    Piece piece{};
    piece.shape = shape_;
    piece.route = route_of(work_.config, packed_rows());
    piece.row_begin = row_begin_;
    piece.num_rows = min_of(work_.tile_rows, packed_rows() - row_begin_);
    piece.kv_head = kv_head_;
    const KvRange visible =
        rows_visible(params_, shape_, row_begin_, row_begin_ + piece.num_rows - 1);
    const bool cut_before = group_.first_worker >= 0;
    const bool cut_behind = unit_ == end_unit_;  // done() says that the end lies within the unit
    const Group group = cut_before ? group_ : cut_behind ? end_group_ : Group{-1, 1};
    piece.first_worker = group.first_worker;
    piece.num_pieces = group.num_pieces;
    piece.index = worker_ - group.first_worker;
    piece.kv = {cut_before ? kv_split_ : visible.begin, cut_behind ? end_split_ : visible.end};
    if (work_.config.policy == SplitPolicy::kFixed) {
      piece.cells = tile_cells(SplitPolicy::kFixed, work_.config.fixed_split_keys, visible);
      piece.num_cells_before = piece.kv.begin / piece.cells.cell_keys - piece.cells.first_cell;
    }
    return piece;
  }

  PAGODA_DEVICE void next() {
    ++unit_;
    group_ = {-1, 1};
    if (done() || ++kv_head_ < params_.num_kv_heads) return;
    kv_head_ = 0;
    row_begin_ += work_.tile_rows;
    if (row_begin_ < packed_rows()) return;
    row_begin_ = 0;
    next_sequence();
  }

 private:
  PAGODA_DEVICE int32_t packed_rows() const { return shape_.q_len * params_.group; }

  struct Group {
    int32_t first_worker;
    int32_t num_pieces;
  };

  // Lengths of 32 sequences, one in each lane.
  PAGODA_DEVICE void load_lengths(int32_t first_seq) {
    first_seq_ = first_seq;
    const int32_t seq =
        min_of(first_seq + static_cast<int32_t>(threadIdx.x % 32), params_.num_seqs - 1);
    lengths_ = sequence_shape(params_, seq);
  }

  // The next sequence that has rows of these routes; there is one.
  PAGODA_DEVICE void next_sequence() {
    int32_t seq = shape_.seq + 1;
    while (true) {
      if (seq >= first_seq_ + 32) load_lengths(seq);
      const bool here = is_planned(work_.config, lengths_.q_len * params_.group);
      const uint32_t with_rows = __ballot_sync(0xffffffffu, here);
      const uint32_t left = with_rows >> (seq - first_seq_);
      if (left != 0) {
        seq += __ffs(static_cast<int>(left)) - 1;
        break;
      }
      seq = first_seq_ + 32;
    }
    const int lane = seq - first_seq_;
    shape_ = {seq, __shfl_sync(0xffffffffu, lengths_.first_token, lane),
              __shfl_sync(0xffffffffu, lengths_.q_len, lane),
              __shfl_sync(0xffffffffu, lengths_.k_len, lane)};
  }

  const AttentionParams& params_;
  const Work& work_;
  const int32_t worker_;
  SequenceShape shape_;
  int32_t row_begin_;
  int32_t kv_head_;
  int32_t unit_;
  int32_t kv_split_;
  Group group_;
  int32_t end_unit_;
  int32_t end_split_;
  Group end_group_;
  int32_t first_seq_;
  SequenceShape lengths_;
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_SHARE_WALK_CUH_
