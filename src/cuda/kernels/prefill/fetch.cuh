// What the fetching warpgroup does: one warp walks the share and brings K, one brings V, two bring
// Q.
#ifndef PAGODA_CUDA_KERNELS_PREFILL_FETCH_CUH_
#define PAGODA_CUDA_KERNELS_PREFILL_FETCH_CUH_

#include "core/paged_kv.h"
#include "cuda/kernels/prefill/config.h"
#include "cuda/kernels/prefill/copy_query.cuh"
#include "cuda/kernels/prefill/walk_along.cuh"
#include "cuda/query_boxes.h"
#include "cuda/sm90/ldst.cuh"
#include "cuda/sm90/sync.cuh"
#include "cuda/sm90/tma.cuh"

namespace pagoda::cuda {

// Fills a ring with the K or the V tiles of one piece after the other.
template <class Config, int kStages>
class TileFetcher {
 public:
  using KeyTile = typename Config::KeyTile;

  PAGODA_DEVICE TileFetcher(const PagedKvParams& kv, const TensorMap& map, int32_t log2_box_keys,
                            KeyTile (&tiles)[kStages], tile::Pipeline<kStages>& ring)
      : kv_(kv),
        map_(map),
        log2_box_keys_(log2_box_keys),
        tiles_(tiles),
        ring_(ring),
        policy_(sm90::l2_evict_last()) {}

  PAGODA_DEVICE void fetch(const Piece& piece) {
    if (piece.kv.empty()) return;
    const Run run{page_ids(kv_.block_table, piece.shape.seq), piece.kv, piece.kv_head};
    const int32_t end = ceil_div(run.kv.end, Config::kTileKeys);
    int32_t tile = run.kv.begin / Config::kTileKeys;
    TokenSlot here = slot(run, tile, lane());
    for (; tile < end; ++tile) {
      const TokenSlot next = slot(run, tile + 1, lane());  // asked for a tile ahead
      copy(run, tile, here);
      here = next;
    }
  }

 private:
  struct Run {
    const int32_t* pages;
    KvRange kv;
    int32_t head;
  };

  static constexpr int kAtOnce = min_of(4, 8 / KeyTile::kNumPanels);  // pages

  PAGODA_DEVICE static int32_t lane() { return static_cast<int32_t>(threadIdx.x % 32); }

  // Where box `box` of a tile lies. A box without keys lies behind the last page, where the copy
  // engine finds zeros: so nothing in a tile is left from before.
  PAGODA_DEVICE TokenSlot slot(const Run& run, int32_t tile, int32_t box) const {
    const int32_t key = tile * Config::kTileKeys + (box << log2_box_keys_);
    const bool there = key < run.kv.end && key + (1 << log2_box_keys_) > run.kv.begin;
    return there ? token_slot(run.pages, kv_.page_size, key) : TokenSlot{kv_.num_pages, 0};
  }

  // Lane i knows where box i lies. One lane issues them all: the copy engine takes what it is told
  // from uniform registers, into which lanes would have to bring theirs one after the other. With
  // tiny pages there are more boxes than lanes.
  PAGODA_DEVICE void copy(const Run& run, int32_t tile, TokenSlot first) {
    ring_.acquire(cursor_);
    const int32_t stage = uniform(cursor_.stage);
    const int32_t head = uniform(run.head);
    sm90::Mbarrier& full = ring_.full(cursor_);
    const int32_t num_boxes = Config::kTileKeys >> log2_box_keys_;
    if (lane() == 0) sm90::arrive_expect_bytes(full, KeyTile::kBytes);
    __syncwarp();
    for (int32_t known = 0; known < num_boxes; known += 32) {
      const TokenSlot mine = known == 0 ? first : slot(run, tile, known + lane());
      const int32_t count = min_of(num_boxes - known, 32);
#pragma unroll 1
      for (int32_t i = 0; i < count; i += kAtOnce) {
        TokenSlot from[kAtOnce];
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j) {
          from[j] = {uniform(mine.page, i + j), uniform(mine.offset, i + j)};
        }
        if (!sm90::elect_one()) continue;
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j) {
          if (i + j >= count) break;
#pragma unroll
          for (int panel = 0; panel < KeyTile::kNumPanels; ++panel) {
            sm90::load_box(
                tiles_[stage].box_destination((known + i + j) << log2_box_keys_, panel), &map_,
                full,
                sm90::BoxStart{panel * KeyTile::kPanelCols, from[j].offset, 0, head, from[j].page},
                policy_);
          }
        }
      }
    }
    __syncwarp();
    cursor_.advance();
  }

  // A lane's value in all lanes.
  PAGODA_DEVICE static int32_t uniform(int32_t x, int32_t from_lane = 0) {
    return __shfl_sync(0xffffffffu, x, from_lane);
  }

  const PagedKvParams& kv_;
  const TensorMap& map_;
  const int32_t log2_box_keys_;
  KeyTile (&tiles_)[kStages];
  tile::Pipeline<kStages>& ring_;
  const sm90::L2Policy policy_;
  tile::PipelineCursor<kStages> cursor_;
};

// The warp that walks the share, says what is to be done, and brings K.
template <class Config>
PAGODA_DEVICE void fetch_keys(const AttentionParams& params, const Work& work, const KvBoxes& boxes,
                              PrefillSmem<Config>& smem) {
  TileFetcher<Config, Config::kKeyStages> fetcher(params.kv, boxes.k, boxes.log2_keys, smem.keys,
                                                  smem.key_ring);
  PiecePublisher<Config::kPieces> publisher(smem.pieces);
  walk_along(params, work, [&](auto& walk) {
    const Piece piece = walk.piece();
    if constexpr (Config::kRegistersAreFew) sm90::keep_in_memory(walk);
    publisher.publish(params, piece);
    fetcher.fetch(piece);
  });
  publisher.finish();
}

template <class Config>
PAGODA_DEVICE void fetch_values(const AttentionParams& params, const KvBoxes& boxes,
                                PrefillSmem<Config>& smem) {
  TileFetcher<Config, Config::kValueStages> fetcher(params.kv, boxes.v, boxes.log2_keys,
                                                    smem.values, smem.value_ring);
  for_each_piece(smem.pieces, [&](const PieceSlot& slot, auto) { fetcher.fetch(slot.piece); });
}

// Rows past the piece's last are another sequence's or zeros; nothing is written for them.
template <class Config>
PAGODA_DEVICE void load_query_boxes(const AttentionParams& params, const QueryBoxes& boxes,
                                    const PieceSlot& slot, typename Config::QueryTile& tile,
                                    sm90::Mbarrier& full, sm90::L2Policy policy) {
  const int32_t head = slot.piece.kv_head * params.group;
  const int32_t token = slot.rows.first_token + slot.rows.first_q_idx;
  sm90::arrive_expect_bytes(full, Config::QueryTile::kBytes);
#pragma unroll
  for (int panel = 0; panel < Config::QueryTile::kNumPanels; ++panel) {
    sm90::load_box(tile.box_destination(0, panel), &boxes.map, full,
                   sm90::BoxStart{panel * Config::QueryTile::kPanelCols, head, token}, policy);
  }
}

template <class Config>
PAGODA_DEVICE void fetch_queries(const AttentionParams& params, const QueryBoxes& boxes, int warp,
                                 PrefillSmem<Config>& smem) {
  const sm90::L2Policy policy = sm90::l2_evict_first();
  for_each_piece(smem.pieces, [&](const PieceSlot& slot, auto cursor) {
    const typename Config::QueryCursor at = Config::query_cursor(cursor);
    smem.query_ring.acquire(at);
    if (boxes.usable) {
      if (warp == 0 && sm90::elect_one()) {
        load_query_boxes<Config>(params, boxes, slot, smem.queries[at.stage],
                                 smem.query_ring.full(at), policy);
      }
      return;
    }
    copy_query<Config>(params, slot, warp, smem.queries[at.stage]);
    sm90::cp_async_wait<0>();
    sm90::fence_smem_for_async_proxy();
    sm90::arrive(smem.query_ring.full(at));
  });
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PREFILL_FETCH_CUH_
