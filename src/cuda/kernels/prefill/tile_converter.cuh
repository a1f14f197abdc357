// Tiles of 8-bit K and V on their way to wgmma. Of sequences that are converted already, the copy
// engine brings them. Of others each lane copies a part of every tile into shared memory, tiles
// ahead, for registers hold too few bytes on their way to hide how long they take; then it writes
// them with 16 bits to where wgmma takes them from.
#ifndef PAGODA_CUDA_KERNELS_PREFILL_TILE_CONVERTER_CUH_
#define PAGODA_CUDA_KERNELS_PREFILL_TILE_CONVERTER_CUH_

#include "core/paged_kv.h"
#include "cuda/converted_boxes.h"
#include "cuda/kernels/prefill/config.h"
#include "cuda/kernels/to_pairs.cuh"
#include "cuda/kernels/work.h"
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
    finish_keys(0, at, first, piece.kv_head);
    begin_values(first, piece.kv_head);
    TokenSlot second = slot(pages, piece.kv, tile + 2);
#pragma unroll 1
    for (; tile + 1 < end; ++tile) {
      // Where registers are few the place is found again.
      const auto next_slot = [&] {
        return Config::kRegistersAreFew ? slot(pages, piece.kv, tile + 1) : next;
      };
      Cursor next_at = at;
      next_at.advance();
      finish_keys(1, next_at, next_slot(), piece.kv_head);
      begin(1, tile + 2 < end, kv_.k, second, piece.kv_head);
      finish_values(at);
      at = next_at;
      begin_values(next_slot(), piece.kv_head);
      next = second;
      second = slot(pages, piece.kv, tile + 3);  // needed only after the next keys
    }
    progress = {at, true};
  }

  // The same for a sequence whose K and V are converted already: the copy engine brings them. One
  // warp asks it for K and its scales and one for V, so that neither waits for the other's ring.
  // `origin`: where key 0 would be among them.
  template <class BeginQuery, class FinishQuery>
  PAGODA_DEVICE void fetch(const Piece& piece, const ConvertedKv& converted, const KvBoxes& boxes,
                           int32_t origin, Progress& progress, BeginQuery&& begin_query,
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
      const int64_t first_of_head =
          int64_t{piece.kv_head} * converted.capacity * kConvertedTile + first_row;
      fetch_tiles(boxes.k, first_row, num_tiles, piece.kv_head, smem_.keys, smem_.key_ring,
                  progress.at, [&](const Cursor& at, int32_t tile) {
                    fetch_key_scales(converted, first_of_head + tile * Config::kTileKeys, at);
                  });
    } else if (threadIdx.x < 64) {
      fetch_tiles(boxes.v, first_row, num_tiles, piece.kv_head, smem_.values, smem_.value_ring,
                  progress.at, [](const Cursor&, int32_t) {});
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

  // Row `row` of the warp's, of a tile.
  PAGODA_DEVICE static int warp_row(int row) {
    return static_cast<int>(threadIdx.x / 32) * kRows + row;
  }

  // Where row `lane` % kRows of the warp's of a tile lies; page -1: nowhere, for the key is not in
  // the piece.
  PAGODA_DEVICE TokenSlot slot(const int32_t* pages, KvRange kv, int32_t tile) const {
    const int32_t key = tile * Config::kTileKeys + warp_row(lane() % kRows);
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

  PAGODA_DEVICE void begin_values(TokenSlot slot, int32_t head) {
    if constexpr (Config::kTokenScales) value_scale_ = token_scale(kv_.v_token_scale, slot, head);
    begin(0, true, kv_.v, slot, head);
  }

  // The older one of the tiles on their way to its ring; one group of copies may be younger.
  // `slot`, `head`: as of begin().
  PAGODA_DEVICE void finish_keys(int raw, const Cursor& at, TokenSlot slot, int32_t head) {
    [[maybe_unused]] float scale = 0.0f;  // asked for before the keys are converted
    if constexpr (Config::kTokenScales) scale = token_scale(kv_.k_token_scale, slot, head);
    sm90::cp_async_wait<1>();
    smem_.key_ring.acquire(at);
    convert_tile(raw, smem_.keys[at.stage]);
    if constexpr (Config::kTokenScales)
      smem_.key_scales[at.stage].of[warp_row(lane() % kRows)] = scale;
    sm90::fence_smem_for_async_proxy();
    sm90::arrive(smem_.key_ring.full(at));
  }

  PAGODA_DEVICE void finish_values(const Cursor& at) {
    sm90::cp_async_wait<1>();
    smem_.value_ring.acquire(at);
    if constexpr (Config::kTokenScales) {
      convert_scaled_tile(smem_.values[at.stage]);
    } else {
      convert_tile(0, smem_.values[at.stage]);
    }
    sm90::fence_smem_for_async_proxy();
    sm90::arrive(smem_.value_ring.full(at));
  }

  PAGODA_DEVICE static float token_scale(const TokenScaleParams& scales, TokenSlot slot,
                                         int32_t head) {
    return slot.page < 0 ? 0.0f : *scale_address(scales, slot, head);
  }

  // The lane's part, exactly.
  PAGODA_DEVICE void convert_tile(int raw, KeyTile& tile) {
    const uint32_t to = sm90::smem_address(tile.bytes) + offset_;
    if (kv_.dtype == DType::kFloat8E4M3) {
      convert_tile<Float8E4M3>(raw, to);
    } else if (!Config::kTokenScales || kv_.dtype == DType::kFloat8E5M2) {
      convert_tile<Float8E5M2>(raw, to);
    } else {
      convert_tile<int8_t>(raw, to);
    }
  }

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
      const uint32_t at = chunk_of_copy(to, i);
      sm90::store_shared_16(at, low);
      sm90::store_shared_16(at ^ 16, high);
    }
  }

  // The lane's part of values, times the scales of their tokens, in less code.
  PAGODA_DEVICE void convert_scaled_tile(KeyTile& tile) {
    const uint32_t to = sm90::smem_address(tile.bytes) + offset_;
#pragma unroll 1
    for (int i = 0; i < kCopies; ++i) {
      const uint4 bytes = sm90::load_shared_16(raw_chunk(0, i));
      const float scale = __shfl_sync(0xffffffffu, value_scale_, i * kRowsAtOnce + lane_row());
      const uint32_t at = chunk_of_copy(to, i);
      uint4 x;
      to_scaled(bytes.x, scale, x.x, x.y);
      to_scaled(bytes.y, scale, x.z, x.w);
      sm90::store_shared_16(at, x);
      to_scaled(bytes.z, scale, x.x, x.y);
      to_scaled(bytes.w, scale, x.z, x.w);
      sm90::store_shared_16(at ^ 16, x);
    }
  }

  PAGODA_DEVICE void to_scaled(uint32_t bytes, float scale, uint32_t& low, uint32_t& high) const {
    switch (kv_.dtype) {
      case DType::kFloat8E4M3:
        return to_scaled_pairs<T>(Float8E4M3{}, bytes, scale, low, high);
      case DType::kFloat8E5M2:
        return to_scaled_pairs<T>(Float8E5M2{}, bytes, scale, low, high);
      default:
        return to_scaled_pairs<T>(int8_t{}, bytes, scale, low, high);
    }
  }

  // Where the first half of what becomes of copy `i` belongs, `to` being where that of copy 0 does;
  // the other half is 16 bytes from it, in either direction.
  PAGODA_DEVICE static uint32_t chunk_of_copy(uint32_t to, int i) {
    // Further down the rows, chunks are permuted otherwise.
    constexpr uint32_t kStep = kRowsAtOnce * KeyTile::kPanelBytes;
    const uint32_t down = static_cast<uint32_t>(i) * kStep;
    const uint32_t permuted = sm90::swizzled(sm90::Swizzle::k128B, down) ^ down;
    return (to ^ permuted) + down;
  }

  // By one warp, which arrives for all that would convert. fetch_more() of a place and a tile asks
  // for what else comes with it.
  template <class FetchMore>
  PAGODA_DEVICE void fetch_tiles(const TensorMap& map, int32_t first_row, int32_t num_tiles,
                                 int32_t head, KeyTile (&tiles)[kStages],
                                 tile::Pipeline<kStages>& ring, Cursor at, FetchMore&& fetch_more) {
    const sm90::L2Policy policy = sm90::l2_evict_last();
#pragma unroll 1
    for (int32_t i = 0; i < num_tiles; ++i, at.advance()) {
      ring.acquire(at);
      __syncwarp();
      if (!sm90::elect_one()) continue;
      sm90::Mbarrier& full = ring.full(at);
      sm90::expect_bytes(full, KeyTile::kBytes);
      fetch_more(at, i);
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

  // Those of the keys from `first` on among all converted rows.
  PAGODA_DEVICE void fetch_key_scales(const ConvertedKv& converted, int64_t first,
                                      const Cursor& at) {
    if constexpr (Config::kTokenScales) {
      sm90::Mbarrier& full = smem_.key_ring.full(at);
      auto& scales = smem_.key_scales[at.stage].of;
      sm90::expect_bytes(full, sizeof(scales));
      sm90::load_bytes(scales, converted.k_scale + first, sizeof(scales), full,
                       sm90::l2_evict_last());
    }
  }

  PAGODA_DEVICE void finish_last_values(Progress& progress) {
    if (!progress.has_last_values) return;
    if constexpr (!kQueryIsAhead) sm90::cp_async_commit();  // nothing is younger
    finish_values(progress.at);
    progress.at.advance();
    progress.has_last_values = false;
  }

  const PagedKvParams& kv_;
  PrefillSmem<Config>& smem_;
  uint32_t column_bytes_;  // of the lane's chunk; past head_dim channels are zeros
  int from_column_;        // of the lane's chunk; another if that is not there
  uint32_t offset_;        // of its first place in a tile
  // Of row `lane` % kRows of the warp's of the values on their way.
  TypeIf<Config::kTokenScales, float> value_scale_;
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PREFILL_TILE_CONVERTER_CUH_
