// What the fetching warpgroup does for 8-bit K and V. Of sequences that are converted already, the
// copy engine brings them. Of others each lane copies a part of every tile into shared memory,
// tiles ahead, for registers hold too few bytes on their way to hide how long they take; then it
// writes them with 16 bits to where wgmma takes them from. 8-bit Q is converted as well.
#ifndef PAGODA_CUDA_KERNELS_PREFILL_CONVERT_CUH_
#define PAGODA_CUDA_KERNELS_PREFILL_CONVERT_CUH_

#include "core/paged_kv.h"
#include "cuda/converted_boxes.h"
#include "cuda/kernels/prefill/config.h"
#include "cuda/kernels/prefill/copy_query.cuh"
#include "cuda/kernels/prefill/fetch.cuh"
#include "cuda/kernels/prefill/walk_along.cuh"
#include "cuda/kernels/to_pairs.cuh"
#include "cuda/query_boxes.h"
#include "cuda/sm90/ldst.cuh"
#include "cuda/sm90/sync.cuh"
#include "cuda/sm90/tma.cuh"
#include "plan/kv_conversion.h"

namespace pagoda::cuda {

// What is read for keys that are not in the piece, so that nothing in a tile is left from before.
alignas(16) static __device__ const uint8_t kZeroRow[256] = {};

// A warp's keys of each tile of K and V, of one piece after the other. A lane converts what it
// has copied itself, so nobody waits for other lanes' copies. Tiles go to the rings in the order in
// which the math groups take them: K is a tile ahead of V. A piece's last values are converted
// when the next piece is known and its Q on its way, so that the math groups wait for neither.
template <class Config>
class TileConverter {
 public:
  using T = typename Config::T;
  using KeyTile = typename Config::KeyTile;
  using Cursor = tile::PipelineCursor<Config::kKeyStages>;

  // What one piece leaves to the next.
  struct Progress {
    Cursor at;                     // in both rings
    bool has_last_values = false;  // on their way
  };

  PAGODA_DEVICE TileConverter(const AttentionParams& params, int warp, PrefillSmem<Config>& smem)
      : kv_(params.kv), smem_(smem) {
    const int column = lane() / 8 % KeyTile::kNumPanels * KeyTile::kPanelCols + lane() % 4 * kChunk;
    column_bytes_ = static_cast<uint32_t>(clamp_to(params.head_dim - column, 0, kChunk));
    from_column_ = column_bytes_ > 0 ? column : 0;
    offset_ = KeyTile::offset(kRows * warp + lane_row(), column);
  }

  // The piece stays in shared memory: registers are few. begin_query() begins a group of copies,
  // finish_query() is called when they are there.
  template <class BeginQuery, class FinishQuery>
  PAGODA_DEVICE void convert(const Piece& piece, Progress& progress, BeginQuery&& begin_query,
                             FinishQuery&& finish_query) {
    const int32_t* pages = page_ids(kv_.block_table, piece.shape.seq);
    int32_t tile = piece.kv.begin / Config::kTileKeys;
    const int32_t end = piece.kv.empty() ? tile : ceil_div(piece.kv.end, Config::kTileKeys);
    TokenSlot first = slot(pages, piece.kv, tile);
    TokenSlot next = slot(pages, piece.kv, tile + 1);
    if constexpr (kQueryIsAhead) begin_query();
    finish_last_values(progress);
    begin(0, tile < end, kv_.k, first, piece.kv_head);
    begin(1, tile + 1 < end, kv_.k, next, piece.kv_head);
    if constexpr (kQueryIsAhead) {
      sm90::cp_async_wait<2>();
    } else {
      begin_query();
      sm90::cp_async_wait<0>();
    }
    finish_query();
    if (tile == end) return;
    Cursor at = progress.at;
    finish(0, smem_.keys, smem_.key_ring, at);
    begin(0, true, kv_.v, first, piece.kv_head);
    TokenSlot second = slot(pages, piece.kv, tile + 2);
#pragma unroll 1
    for (; tile + 1 < end; ++tile) {
      Cursor next_at = at;
      next_at.advance();
      finish(1, smem_.keys, smem_.key_ring, next_at);
      begin(1, tile + 2 < end, kv_.k, second, piece.kv_head);
      finish(0, smem_.values, smem_.value_ring, at);
      at = next_at;
      // Where registers are few the place is found again.
      begin(0, true, kv_.v, Config::kRegistersAreFew ? slot(pages, piece.kv, tile + 1) : next,
            piece.kv_head);
      next = second;
      second = slot(pages, piece.kv, tile + 3);  // needed only after the next keys
    }
    progress = {at, true};
  }

  // The same for a sequence whose K and V are converted already: the copy engine brings them. One
  // warp asks it for K and one for V, so that neither waits for the other's ring. `origin`: where
  // key 0 would be among them.
  template <class BeginQuery, class FinishQuery>
  PAGODA_DEVICE void fetch(const Piece& piece, const KvBoxes& boxes, int32_t origin,
                           Progress& progress, BeginQuery&& begin_query,
                           FinishQuery&& finish_query) {
    if constexpr (kQueryIsAhead) begin_query();
    finish_last_values(progress);
    if constexpr (!kQueryIsAhead) begin_query();
    sm90::cp_async_wait<0>();
    finish_query();
    if (piece.kv.empty()) return;
    const int32_t first = piece.kv.begin / Config::kTileKeys;
    const int32_t num_tiles = ceil_div(piece.kv.end, Config::kTileKeys) - first;
    const int32_t first_row = origin + first * Config::kTileKeys;
    if (threadIdx.x < 32) {
      fetch_tiles(boxes.k, first_row, num_tiles, piece.kv_head, smem_.keys, smem_.key_ring,
                  progress.at);
    } else if (threadIdx.x < 64) {
      fetch_tiles(boxes.v, first_row, num_tiles, piece.kv_head, smem_.values, smem_.value_ring,
                  progress.at);
    }
    progress.at.advance(num_tiles);
  }

  // When there are no more pieces.
  PAGODA_DEVICE void end(Progress& progress) {
    if constexpr (kQueryIsAhead) sm90::cp_async_commit();  // where a next query would be
    finish_last_values(progress);
  }

 private:
  // A piece's Q is brought while the one before is still computed with. Without a query tile for
  // that, the one before must have all of its values first.
  static constexpr bool kQueryIsAhead = Config::kQueryTiles > 1;
  static constexpr int kStages = Config::kKeyStages;
  static_assert(kStages == Config::kValueStages);

  static constexpr int kRows = Config::kTileKeys / Config::kKvWarps;
  static constexpr int kChunk = 16;  // channels that a lane copies at once
  // Eight lanes store to four neighbouring chunks of two rows: with the swizzle, to all banks.
  static constexpr int kRowsAtOnce = 8 / KeyTile::kNumPanels;
  static constexpr int kCopies = kRows / kRowsAtOnce;
  static constexpr int kUnrolled = Config::kRegistersAreFew ? 1 : 4;
  static constexpr int kAhead = Config::kRegistersAreFew ? 1 : 3;  // chunks in a lane's registers
  static_assert(kRows <= 32 && KeyTile::kPanelCols == 4 * kChunk);

  PAGODA_DEVICE static int lane() {
    return static_cast<int>(threadIdx.x % 32);
  }

  // The lane's of the rows that the warp copies at once.
  PAGODA_DEVICE static int lane_row() {
    return lane() / 8 / KeyTile::kNumPanels * 2 + lane() / 4 % 2;
  }

  // Where row `lane` % kRows of the warp's of a tile lies; page -1: nowhere, for the key is not in
  // the piece.
  PAGODA_DEVICE TokenSlot slot(const int32_t* pages, KvRange kv, int32_t tile) const {
    const int32_t row = static_cast<int32_t>(threadIdx.x / 32) * kRows + lane() % kRows;
    const int32_t key = tile * Config::kTileKeys + row;
    const bool there = key >= kv.begin && key < kv.end;
    return there ? token_slot(pages, kv_.page_size, key) : TokenSlot{-1, 0};
  }

  PAGODA_DEVICE static const uint8_t* own_row(const PagesParams& pages, TokenSlot slot,
                                              int32_t head) {
    if (slot.page < 0) return kZeroRow;
    return static_cast<const uint8_t*>(pages.data) + row_offset(pages, slot, head);
  }

  // Where the lane's chunk of copy `i` of a raw tile lies.
  PAGODA_DEVICE uint32_t raw_chunk(int raw, int i) const {
    const uint32_t first = sm90::smem_address(smem_.raw[raw].bytes) + threadIdx.x * kChunk;
    return first + static_cast<uint32_t>(i * 32 * Config::kKvWarps * kChunk);
  }

  // The lane's part of a tile is on its way to raw tile `raw`. `slot`: of the tile's row `lane` of
  // the warp's.
  PAGODA_DEVICE void begin(int raw, bool there, const PagesParams& pages, TokenSlot slot,
                           int32_t head) {
    if (there) {
      const sm90::L2Policy policy = sm90::l2_evict_last();
      const auto own = reinterpret_cast<uint64_t>(own_row(pages, slot, head));
#pragma unroll kUnrolled
      for (int i = 0; i < kCopies; ++i) {
        const uint64_t row = __shfl_sync(0xffffffffu, own, i * kRowsAtOnce + lane_row());
        sm90::cp_async_16(raw_chunk(raw, i), reinterpret_cast<const uint8_t*>(row) + from_column_,
                          column_bytes_, policy);
      }
    }
    sm90::cp_async_commit();
  }

  // The older one of the tiles on their way to the ring; one group of copies may be younger.
  PAGODA_DEVICE void finish(int raw, KeyTile (&tiles)[kStages], tile::Pipeline<kStages>& ring,
                            const Cursor& at) {
    sm90::cp_async_wait<1>();
    ring.acquire(at);
    const uint32_t to = sm90::smem_address(tiles[at.stage].bytes) + offset_;
    if (kv_.dtype == DType::kFloat8E4M3) {
      convert_tile<Float8E4M3>(raw, to);
    } else {
      convert_tile<Float8E5M2>(raw, to);
    }
    sm90::fence_smem_for_async_proxy();
    sm90::arrive(ring.full(at));
  }

  // The lane's part, to the tile at `to`.
  template <class KvT>
  PAGODA_DEVICE void convert_tile(int raw, uint32_t to) {
    uint4 ahead[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) ahead[i] = sm90::load_shared_16(raw_chunk(raw, i));
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const uint4 bytes = ahead[i % kAhead];
      if (i + kAhead < kCopies)
        ahead[i % kAhead] = sm90::load_shared_16(raw_chunk(raw, i + kAhead));
      uint4 low, high;
      to_pairs<T>(KvT{}, bytes.x, low.x, low.y);
      to_pairs<T>(KvT{}, bytes.y, low.z, low.w);
      to_pairs<T>(KvT{}, bytes.z, high.x, high.y);
      to_pairs<T>(KvT{}, bytes.w, high.z, high.w);
      // Further down the rows, chunks are permuted otherwise.
      constexpr uint32_t kStep = kRowsAtOnce * KeyTile::kPanelBytes;
      const uint32_t down = static_cast<uint32_t>(i) * kStep;
      const uint32_t permuted = sm90::swizzled(sm90::Swizzle::k128B, down) ^ down;
      sm90::store_shared_16((to ^ permuted) + down, low);
      sm90::store_shared_16((to ^ permuted ^ 16) + down, high);
    }
  }

  // By one warp, which arrives for all that would convert.
  PAGODA_DEVICE void fetch_tiles(const TensorMap& map, int32_t first_row, int32_t num_tiles,
                                 int32_t head, KeyTile (&tiles)[kStages],
                                 tile::Pipeline<kStages>& ring, Cursor at) {
    const sm90::L2Policy policy = sm90::l2_evict_last();
#pragma unroll 1
    for (int32_t i = 0; i < num_tiles; ++i, at.advance()) {
      ring.acquire(at);
      __syncwarp();
      if (!sm90::elect_one()) continue;
      sm90::Mbarrier& full = ring.full(at);
      sm90::expect_bytes(full, KeyTile::kBytes);
      sm90::arrive(full, Config::kKvArrivals);
#pragma unroll
      for (int row = 0; row < Config::kTileKeys; row += kConvertedBoxKeys) {
#pragma unroll
        for (int panel = 0; panel < KeyTile::kNumPanels; ++panel) {
          sm90::load_box(tiles[at.stage].box_destination(row, panel), &map, full,
                         sm90::BoxStart{panel * KeyTile::kPanelCols,
                                        first_row + i * Config::kTileKeys + row, head},
                         policy);
        }
      }
    }
    __syncwarp();
  }

  PAGODA_DEVICE void finish_last_values(Progress& progress) {
    if (!progress.has_last_values) return;
    if constexpr (!kQueryIsAhead) sm90::cp_async_commit();  // nothing is younger
    finish(0, smem_.values, smem_.value_ring, progress.at);
    progress.at.advance();
    progress.has_last_values = false;
  }

  const PagedKvParams& kv_;
  PrefillSmem<Config>& smem_;
  uint32_t column_bytes_;  // of the lane's chunk; past head_dim channels are zeros
  int from_column_;        // of the lane's chunk; another if that is not there
  uint32_t offset_;        // of its first place in a tile
};

// 8-bit rows of the query tile.
template <class Config>
PAGODA_DEVICE void convert_query(const AttentionParams& params, const PieceSlot& slot, int warp,
                                 typename Config::QueryTile& tile) {
  const auto* q = static_cast<const uint8_t*>(params.q.data);
  for_each_query_chunk<Config>(
      params, slot, warp, [&](int row, int column, int64_t from, bool there) {
        const uint2 bytes = there ? *reinterpret_cast<const uint2*>(q + from) : uint2{};
        uint4 x;
        to_pairs<typename Config::T>(Float8E4M3{}, bytes.x, x.x, x.y);
        to_pairs<typename Config::T>(Float8E4M3{}, bytes.y, x.z, x.w);
        sm90::store_shared_16(tile.address(row, column), x);
      });
}

// A group of copies begins, which is empty where Q comes otherwise.
template <class Config>
PAGODA_DEVICE void begin_query(const AttentionParams& params, const QueryBoxes& boxes,
                               const PieceSlot& slot, int warp, typename Config::QueryTile& tile,
                               sm90::Mbarrier& full) {
  if (boxes.usable) {
    if (sm90::elect_one()) {
      load_query_boxes<Config>(params, boxes, slot, tile, full, sm90::l2_evict_first());
    }
    sm90::cp_async_commit();
  } else if (params.q.dtype == DType::kFloat8E4M3) {
    convert_query<Config>(params, slot, warp, tile);
    sm90::cp_async_commit();
  } else {
    copy_query<Config>(params, slot, warp, tile);
  }
}

// Where key 0 of a sequence would lie among converted keys; INT32_MIN if it is not converted.
PAGODA_DEVICE int32_t converted_origin(const AttentionParams& params, const ConvertedKv& converted,
                                       const SequenceShape& shape) {
  if (converted.capacity == 0) return INT32_MIN;
  const int32_t begin = converted.tile_begin[shape.seq];
  const int32_t end = converted.tile_begin[shape.seq + 1];
  if (begin == end || end > converted.capacity) return INT32_MIN;
  return begin * kConvertedTile - converted_keys(params, shape).first;
}

// The warp that asks the copy engine for Q; others may be held up by K and V.
constexpr int kQueryBoxWarp = 2;

// All that one of the warps does. The first one walks the share besides.
template <class Config>
PAGODA_DEVICE void fetch_and_convert(const AttentionParams& params, const Work& work,
                                     const PrefillBoxes& boxes, int warp,
                                     PrefillSmem<Config>& smem) {
  TileConverter<Config> converter(params, warp, smem);
  typename TileConverter<Config>::Progress progress;
  const auto use = [&](const PieceSlot& slot, const auto& cursor) {
    sm90::keep_in_memory(cursor);
    const typename Config::QueryCursor at = Config::query_cursor(cursor);
    auto& query = smem.queries[at.stage];
    sm90::keep_in_memory(progress);
    const auto begin = [&] {
      if (boxes.query.usable && warp != kQueryBoxWarp) return sm90::cp_async_commit();
      smem.query_ring.acquire(at);
      begin_query<Config>(params, boxes.query, slot, warp, query, smem.query_ring.full(at));
    };
    const auto finish = [&] {
      if (boxes.query.usable) return;
      sm90::fence_smem_for_async_proxy();
      sm90::arrive(smem.query_ring.full(at));
    };
    const int32_t origin = converted_origin(params, work.converted, slot.piece.shape);
    if (origin == INT32_MIN) {
      converter.convert(slot.piece, progress, begin, finish);
    } else {
      converter.fetch(slot.piece, boxes.kv, origin, progress, begin, finish);
    }
  };
  if (warp > 0) {
    for_each_piece(smem.pieces, use);
    return converter.end(progress);
  }
  PiecePublisher<Config::kPieces> publisher(smem.pieces);
  walk_along(params, work, [&](auto& walk) {
    const auto cursor = publisher.publish(params, walk.piece());
    sm90::keep_in_memory(walk);  // registers are few
    sm90::keep_in_memory(publisher);
    use(smem.pieces.slots[cursor.stage], cursor);
  });
  publisher.finish();
  converter.end(progress);
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PREFILL_CONVERT_CUH_
