// K and V from global to shared memory, through the block table, by the copy engine: a warp for
// each issues a box for every run of keys that lies in one page, its lanes side by side, and knows
// the page ids 32 boxes ahead.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_LOAD_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_LOAD_CUH_

#include "core/paged_kv.h"
#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/share_walk.cuh"
#include "cuda/kv_boxes.h"
#include "cuda/sm90/ldst.cuh"
#include "cuda/sm90/tma.cuh"

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

  // Where a box of the current 32 begins. All lanes call together.
  PAGODA_DEVICE TokenSlot slot_of(int32_t box) const {
    return {__shfl_sync(0xffffffffu, current_.page, box - base_),
            __shfl_sync(0xffffffffu, current_.offset, box - base_)};
  }

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

// Fills K's or V's half of the ring of stages with the tiles of one piece after the other.
template <class Config>
class KvFetcher {
 public:
  PAGODA_DEVICE KvFetcher(const AttentionParams& params, const KvBoxes& boxes, bool is_v,
                          SmemPlan<Config>& smem)
      : params_(params),
        map_(is_v ? boxes.v : boxes.k),
        log2_box_keys_(boxes.log2_keys),
        num_boxes_per_row_(boxes.panel_by_panel ? Config::kPanels : 1),
        is_v_(is_v),
        smem_(smem),
        policy_(sm90::l2_evict_first()) {}

  // Some keys of a piece.
  PAGODA_DEVICE void fetch(const Piece& piece, KvRange kv) {
    if (kv.empty()) return;
    const int32_t first_tile = kv.begin / Config::kTileKeys;
    const int32_t end_tile = ceil_div(kv.end, Config::kTileKeys);
    const int32_t log2_tile_boxes = kLog2TileKeys - log2_box_keys_;
    const int32_t begin_box = kv.begin >> log2_box_keys_;
    const int32_t end_box = ((kv.end - 1) >> log2_box_keys_) + 1;
    PageRefs refs(params_.kv, log2_box_keys_, piece.shape.seq, first_tile << log2_tile_boxes,
                  end_box);
    for (int32_t tile = first_tile; tile < end_tile; ++tile, cursor_.advance()) {
      const int32_t tile_box = tile << log2_tile_boxes;
      const int32_t next_tile_box = tile_box + (1 << log2_tile_boxes);
      const int32_t begin = max_of(tile_box, begin_box);
      const int32_t end = min_of(next_tile_box, end_box);
      smem_.tiles.acquire(cursor_);
      sm90::Mbarrier& full = smem_.tiles.full(cursor_);
      if (threadIdx.x % 32 == 0) {
        sm90::arrive_expect_bytes(full, static_cast<uint32_t>(end - begin) * box_bytes());
      }
      // Once around, unless boxes hold a single key.
#pragma unroll 1
      for (int32_t batch = tile_box; batch < next_tile_box; batch += 32) {
        refs.advance_to(batch);
        if constexpr (Config::kTokenScales) {
          if (has_token_scales(params_.kv)) {
            copy_scales(refs, {max_of(begin, batch), min_of(end, batch + 32)}, tile_box,
                        piece.kv_head);
          }
        }
        const int32_t box = refs.box();
        if (box < max_of(begin, batch) || box >= end) continue;
        copy_box(refs.slot(), box - tile_box, piece.kv_head, full);
      }
      __syncwarp();
      if constexpr (Config::kTokenScales) {
        if (has_token_scales(params_.kv)) sm90::arrive_after_cp_async(full);
      }
    }
  }

 private:
  static constexpr int32_t kLog2TileKeys = Config::kKv8Bit ? 7 : 6;
  static_assert(Config::kTileKeys == 1 << kLog2TileKeys);

  PAGODA_DEVICE uint32_t box_bytes() const {
    return static_cast<uint32_t>(Config::kPanels * Config::kPanelBytes) << log2_box_keys_;
  }

  PAGODA_DEVICE void copy_box(TokenSlot slot, int32_t box_in_tile, int32_t kv_head,
                              sm90::Mbarrier& full) {
    KvStage<Config>& stage = smem_.stages[cursor_.stage];
    uint8_t* to = (is_v_ ? stage.v : stage.k) + static_cast<uint32_t>(box_in_tile) * box_bytes();
#pragma unroll 1
    for (int panel = 0; panel < num_boxes_per_row_; ++panel) {
      sm90::load_box(to + (panel * Config::kPanelBytes << log2_box_keys_), &map_, full,
                     sm90::BoxStart{panel * Config::kPanelCols, slot.offset, 0, kv_head, slot.page},
                     policy_);
    }
  }

  // The scales of some boxes' tokens, a lane each.
  PAGODA_DEVICE void copy_scales(const PageRefs& refs, KvRange boxes, int32_t tile_box,
                                 int32_t kv_head) {
    TokenScales<Config>& scales = smem_.token_scales[cursor_.stage];
    float* to = is_v_ ? scales.v : scales.k;
    const TokenScaleParams& from = is_v_ ? params_.kv.v_token_scale : params_.kv.k_token_scale;
    const int32_t first_key = tile_box << log2_box_keys_;
    const int32_t end_key = boxes.end << log2_box_keys_;
#pragma unroll 1
    for (int32_t warp_key = boxes.begin << log2_box_keys_; warp_key < end_key; warp_key += 32) {
      const int32_t lane_key = warp_key + static_cast<int32_t>(threadIdx.x % 32);
      const int32_t key = min_of(lane_key, end_key - 1);
      const int32_t box = key >> log2_box_keys_;
      TokenSlot slot = refs.slot_of(box);
      slot.offset += key - (box << log2_box_keys_);
      if (lane_key > key) continue;
      sm90::cp_async_4(smem_address(to + key - first_key), scale_address(from, slot, kv_head));
    }
  }

  const AttentionParams& params_;
  const TensorMap& map_;
  const int32_t log2_box_keys_;
  const int num_boxes_per_row_;
  const bool is_v_;
  SmemPlan<Config>& smem_;
  const sm90::L2Policy policy_;
  tile::PipelineCursor<kStages<Config>> cursor_;
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_LOAD_CUH_
