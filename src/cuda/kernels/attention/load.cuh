// From global to shared memory. K and V come through the block table by the copy engine: one warp
// issues a box for every run of keys that lies in one page, its lanes side by side, and knows the
// page ids 32 boxes ahead.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_LOAD_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_LOAD_CUH_

#include "core/paged_kv.h"
#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/share_walk.cuh"
#include "cuda/kv_boxes.h"
#include "cuda/sm90/ldst.cuh"
#include "cuda/sm90/tma.cuh"
#include "plan/item_rows.h"

namespace pagoda::cuda {

using sm90::smem_address;

// Where the boxes of a warp's lanes begin: box `base + lane` of the sequence.
class PageRefs {
 public:
  // The sequence's boxes first ... end - 1, in batches of 32 from `first` on.
  PAGODA_DEVICE PageRefs(const PagedKvParams& kv, int32_t log2_box_keys, int32_t seq, int32_t first,
                         int32_t end)
      : pages_(page_ids(kv.block_table, seq)),
        page_size_(kv.page_size),
        log2_box_keys_(log2_box_keys),
        base_(first),
        end_(end),
        current_(load(first)),
        next_(load(first + 32)) {}

  PAGODA_DEVICE void advance_to(int32_t box) {
    if (box < base_ + 32) return;
    base_ += 32;
    current_ = next_;
    next_ = load(base_ + 32);
  }

  PAGODA_DEVICE int32_t box() const { return base_ + lane(); }
  PAGODA_DEVICE TokenSlot slot() const { return current_; }

 private:
  PAGODA_DEVICE static int32_t lane() { return static_cast<int32_t>(threadIdx.x % 32); }

  PAGODA_DEVICE TokenSlot load(int32_t base) const {
    const int32_t box = base + lane();
    return box < end_ ? token_slot(pages_, page_size_, box << log2_box_keys_) : TokenSlot{0, 0};
  }

  const int32_t* pages_;
  int32_t page_size_;
  int32_t log2_box_keys_;
  int32_t base_;
  int32_t end_;
  TokenSlot current_;
  TokenSlot next_;
};

// Fills the ring of stages with the tiles of one piece after the other.
template <class Config>
class KvFetcher {
 public:
  PAGODA_DEVICE KvFetcher(const AttentionParams& params, const KvBoxes& boxes,
                          SmemPlan<Config>& smem)
      : params_(params), boxes_(boxes), smem_(smem), policy_(sm90::l2_evict_first()) {}

  PAGODA_DEVICE void fetch(const Piece& piece) {
    if (piece.kv.empty()) return;
    const int32_t first_tile = piece.kv.begin / Config::kTileKeys;
    const int32_t end_tile = ceil_div(piece.kv.end, Config::kTileKeys);
    const int32_t log2_tile_boxes = kLog2TileKeys - boxes_.log2_keys;
    const int32_t begin_box = piece.kv.begin >> boxes_.log2_keys;
    const int32_t end_box = ((piece.kv.end - 1) >> boxes_.log2_keys) + 1;
    PageRefs refs(params_.kv, boxes_.log2_keys, piece.shape.seq, first_tile << log2_tile_boxes,
                  end_box);
    for (int32_t tile = first_tile; tile < end_tile; ++tile, cursor_.advance()) {
      const int32_t tile_box = tile << log2_tile_boxes;
      const int32_t next_tile_box = tile_box + (1 << log2_tile_boxes);
      const int32_t begin = max_of(tile_box, begin_box);
      const int32_t end = min_of(next_tile_box, end_box);
      smem_.tiles.acquire(cursor_);
      sm90::Mbarrier& full = smem_.tiles.full(cursor_);
      if (threadIdx.x % 32 == 0) {
        sm90::arrive_expect_bytes(full, static_cast<uint32_t>(end - begin) * 2 * box_bytes());
      }
      // Once around, unless boxes hold a single key.
      for (int32_t batch = tile_box; batch < next_tile_box; batch += 32) {
        refs.advance_to(batch);
        const int32_t box = refs.box();
        if (box < max_of(begin, batch) || box >= end) continue;
        copy_box(refs.slot(), box - tile_box, piece.kv_head, full);
      }
      __syncwarp();
    }
  }

 private:
  static constexpr int32_t kLog2TileKeys = 6;
  static_assert(Config::kTileKeys == 1 << kLog2TileKeys);

  PAGODA_DEVICE uint32_t box_bytes() const {
    return static_cast<uint32_t>(Config::kHeadDim * 2) << boxes_.log2_keys;
  }

  PAGODA_DEVICE void copy_box(TokenSlot slot, int32_t box_in_tile, int32_t kv_head,
                              sm90::Mbarrier& full) {
    KvStage<Config>& stage = smem_.stages[cursor_.stage];
    const uint32_t offset = static_cast<uint32_t>(box_in_tile) * box_bytes();
    const uint32_t panel_bytes = static_cast<uint32_t>(Config::kPanelCols * 2) << boxes_.log2_keys;
    const int panels = boxes_.panel_by_panel ? Config::kPanels : 1;
    // One place for all copies: where lanes differ, the instruction takes much code.
#pragma unroll 1
    for (int i = 0; i < 2 * panels; ++i) {
      const int panel = i >> 1;
      uint8_t* tile = i & 1 ? stage.v : stage.k;
      const TensorMap* map = i & 1 ? &boxes_.v : &boxes_.k;
      sm90::load_box(tile + offset + panel * panel_bytes, map, full,
                     sm90::BoxStart{panel * Config::kPanelCols, slot.offset, 0, kv_head, slot.page},
                     policy_);
    }
  }

  const AttentionParams& params_;
  const KvBoxes& boxes_;
  SmemPlan<Config>& smem_;
  const sm90::L2Policy policy_;
  tile::PipelineCursor<Config::kStages> cursor_;
};

// The query rows of a piece, for one KV head, by all math threads; rows and channels that are not
// there are zeros.
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
    int64_t offset = 0;
    if (there) {
      offset = row_offset(params.q, rows.first_token + rows.q_idx(row), rows.q_head(kv_head, row)) +
               chunk * 8;
    }
    sm90::cp_async_16(smem + Tile::chunk_offset(row, chunk), q + offset, there ? 16 : 0);
  }
  sm90::cp_async_commit();
  sm90::cp_async_wait<0>();
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_LOAD_CUH_
