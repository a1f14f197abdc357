// What the fetching warpgroup does for 8-bit K and V: each of its lanes copies a part of every tile
// into shared memory, tiles ahead, for registers hold too few bytes on their way to hide how long
// they take; then it writes them as f16 to where wgmma takes them from. Q becomes f16 as well.
#ifndef PAGODA_CUDA_KERNELS_PREFILL_CONVERT_CUH_
#define PAGODA_CUDA_KERNELS_PREFILL_CONVERT_CUH_

#include "core/paged_kv.h"
#include "cuda/kernels/prefill/config.h"
#include "cuda/kernels/prefill/copy_query.cuh"
#include "cuda/kernels/prefill/walk_along.cuh"
#include "cuda/kernels/to_f16.cuh"
#include "cuda/sm90/ldst.cuh"
#include "cuda/sm90/sync.cuh"

namespace pagoda::cuda {

// What is read for keys that are not in the piece, so that nothing in a tile is left from before.
alignas(16) static __device__ const uint8_t kZeroRow[128] = {};

// A warp's 32 keys of each tile of K and V, of one piece after the other. A lane converts what it
// has copied itself, so nobody waits for other lanes' copies. Tiles go to the rings in the order in
// which the math groups take them: K is a tile ahead of V. A piece's last values are converted
// when the next piece is known and its Q on its way, so that the math groups wait for neither.
template <class Config>
class TileConverter {
 public:
  using KvT = typename Config::KvT;
  using KeyTile = typename Config::KeyTile;

  PAGODA_DEVICE TileConverter(const AttentionParams& params, int warp, PrefillSmem<Config>& smem)
      : kv_(params.kv), smem_(smem), policy_(sm90::l2_evict_last()) {
    const int column = lane() / 8 % KeyTile::kNumPanels * KeyTile::kPanelCols + lane() % 4 * kChunk;
    const bool has_column = column < params.head_dim;
    column_bytes_ = has_column ? kChunk : 0;
    from_column_ = has_column ? column : 0;
    offset_ = KeyTile::offset(kRows * warp + lane_row(), column);
  }

  // The piece stays in shared memory: registers are few. begin_query() begins a group of copies,
  // finish_query() is called when they are there.
  template <class BeginQuery, class FinishQuery>
  PAGODA_DEVICE void convert(const Piece& piece, BeginQuery&& begin_query,
                             FinishQuery&& finish_query) {
    const int32_t* pages = page_ids(kv_.block_table, piece.shape.seq);
    int32_t tile = piece.kv.begin / Config::kTileKeys;
    const int32_t end = piece.kv.empty() ? tile : ceil_div(piece.kv.end, Config::kTileKeys);
    TokenSlot first = slot(pages, piece.kv, tile);
    TokenSlot next = slot(pages, piece.kv, tile + 1);
    begin_query();
    finish_last_values();
    begin(0, tile < end, kv_.k, first, piece.kv_head);
    begin(1, tile + 1 < end, kv_.k, next, piece.kv_head);
    sm90::cp_async_wait<2>();
    finish_query();
    if (tile == end) return;
    finish(0, smem_.keys, smem_.key_ring, at_);
    begin(0, true, kv_.v, first, piece.kv_head);
    TokenSlot second = slot(pages, piece.kv, tile + 2);
#pragma unroll 1
    for (; tile + 1 < end; ++tile) {
      Cursor next_at = at_;
      next_at.advance();
      finish(1, smem_.keys, smem_.key_ring, next_at);
      begin(1, tile + 2 < end, kv_.k, second, piece.kv_head);
      finish(0, smem_.values, smem_.value_ring, at_);
      at_ = next_at;
      begin(0, true, kv_.v, next, piece.kv_head);
      next = second;
      second = slot(pages, piece.kv, tile + 3);  // needed only after the next keys
    }
    has_last_values_ = true;
  }

  // When there are no more pieces.
  PAGODA_DEVICE void end() {
    sm90::cp_async_commit();  // where a next query would be
    finish_last_values();
  }

 private:
  static constexpr int kStages = Config::kKeyStages;
  static_assert(kStages == Config::kValueStages);
  using Cursor = tile::PipelineCursor<kStages>;

  static constexpr int kRows = Config::kTileKeys / Config::kKvWarps;
  static constexpr int kChunk = 16;  // channels that a lane copies at once
  // Eight lanes store to four neighbouring chunks of two rows: with the swizzle, to all banks.
  static constexpr int kRowsAtOnce = 8 / KeyTile::kNumPanels;
  static constexpr int kCopies = kRows / kRowsAtOnce;
  static constexpr int kAhead = 4;  // chunks that a lane has in registers
  static_assert(kRows == 32 && Config::kTileKeys == 128 && KeyTile::kPanelCols == 4 * kChunk);

  PAGODA_DEVICE static int lane() {
    return static_cast<int>(threadIdx.x % 32);
  }

  // The lane's of the rows that the warp copies at once.
  PAGODA_DEVICE static int lane_row() {
    return lane() / 8 / KeyTile::kNumPanels * 2 + lane() / 4 % 2;
  }

  // Where row `lane` of the warp's of a tile lies; page -1: nowhere, for the key is not in the
  // piece.
  PAGODA_DEVICE TokenSlot slot(const int32_t* pages, KvRange kv, int32_t tile) const {
    const int32_t key = tile * Config::kTileKeys + static_cast<int32_t>(threadIdx.x);
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
      const auto own = reinterpret_cast<uint64_t>(own_row(pages, slot, head));
#pragma unroll 4  // as registers allow
      for (int i = 0; i < kCopies; ++i) {
        const uint64_t row = __shfl_sync(0xffffffffu, own, i * kRowsAtOnce + lane_row());
        sm90::cp_async_16(raw_chunk(raw, i), reinterpret_cast<const uint8_t*>(row) + from_column_,
                          column_bytes_, policy_);
      }
    }
    sm90::cp_async_commit();
  }

  // The older one of the tiles on their way to the ring.
  PAGODA_DEVICE void finish(int raw, KeyTile (&tiles)[kStages], tile::Pipeline<kStages>& ring,
                            const Cursor& at) {
    sm90::cp_async_wait<1>();
    ring.acquire(at);
    const uint32_t to = sm90::smem_address(tiles[at.stage].bytes) + offset_;
    uint4 ahead[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) ahead[i] = sm90::load_shared_16(raw_chunk(raw, i));
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const uint4 bytes = ahead[i % kAhead];
      if (i + kAhead < kCopies)
        ahead[i % kAhead] = sm90::load_shared_16(raw_chunk(raw, i + kAhead));
      uint4 low, high;
      to_f16_pairs(KvT{}, bytes.x, low.x, low.y);
      to_f16_pairs(KvT{}, bytes.y, low.z, low.w);
      to_f16_pairs(KvT{}, bytes.z, high.x, high.y);
      to_f16_pairs(KvT{}, bytes.w, high.z, high.w);
      // Further down the rows, chunks are permuted otherwise.
      constexpr uint32_t kStep = kRowsAtOnce * KeyTile::kPanelBytes;
      const uint32_t down = static_cast<uint32_t>(i) * kStep;
      const uint32_t permuted = sm90::swizzled(sm90::Swizzle::k128B, down) ^ down;
      sm90::store_shared_16((to ^ permuted) + down, low);
      sm90::store_shared_16((to ^ permuted ^ 16) + down, high);
    }
    sm90::fence_smem_for_async_proxy();
    sm90::arrive(ring.full(at));
  }

  PAGODA_DEVICE void finish_last_values() {
    if (!has_last_values_) return;
    finish(0, smem_.values, smem_.value_ring, at_);
    at_.advance();
    has_last_values_ = false;
  }

  const PagedKvParams& kv_;
  PrefillSmem<Config>& smem_;
  const sm90::L2Policy policy_;
  uint32_t column_bytes_;         // of the lane's chunk: 0 past head_dim, where channels are zeros
  int from_column_;               // of the lane's chunk; another if that is not there
  uint32_t offset_;               // of its first place in a tile
  Cursor at_;                     // in both rings
  bool has_last_values_ = false;  // of the former piece, on their way
};

// The inverse of a power of two.
PAGODA_DEVICE float inverse_of_power(float power) {
  constexpr uint32_t kTwiceBias = 2 * 127;
  return __uint_as_float((kTwiceBias << 23) - __float_as_uint(power));
}

// 8-bit rows of the query tile as f16.
template <class Config>
PAGODA_DEVICE void convert_query(const AttentionParams& params, const PieceSlot& slot, int warp,
                                 typename Config::QueryTile& tile) {
  const auto* q = static_cast<const uint8_t*>(params.q.data);
  for_each_query_chunk<Config>(
      params, slot, warp, [&](int row, int column, int64_t from, bool there) {
        const uint2 bytes = there ? *reinterpret_cast<const uint2*>(q + from) : uint2{};
        uint4 x;
        to_f16_pairs(Float8E4M3{}, bytes.x, x.x, x.y);
        to_f16_pairs(Float8E4M3{}, bytes.y, x.z, x.w);
        sm90::store_shared_16(tile.address(row, column), x);
      });
}

// 16-bit rows that copy_query() brought, in the same lanes: bf16 becomes f16. `unit`: what 1 stands
// for in each row.
template <class Config>
PAGODA_DEVICE void bf16_query_to_f16(int warp, typename Config::QueryTile& tile,
                                     float (&unit)[Config::kTileRows]) {
  constexpr int kRows = Config::kTileRows / Config::kQueryWarps;
  constexpr int kChunks = Config::kHeadDim / 8;
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll 2
  for (int i = 0; i < kRows; i += 32 / kChunks) {
    const int row = kRows * warp + i + lane / kChunks;
    const uint32_t at = tile.address(row, lane % kChunks * 8);
    uint4 x = sm90::load_shared_16(at);
    float largest = 0.0f;
    for (const uint32_t pair : {x.x, x.y, x.z, x.w}) {
      largest = fmaxf(largest, largest_finite(pair));
    }
#pragma unroll
    for (int other = kChunks / 2; other > 0; other /= 2) {
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, other));
    }
    const float factor = f16_factor(largest);
    x = {bf16_to_f16_pair(x.x, factor), bf16_to_f16_pair(x.y, factor),
         bf16_to_f16_pair(x.z, factor), bf16_to_f16_pair(x.w, factor)};
    sm90::store_shared_16(at, x);
    if (lane % kChunks == 0) unit[row] = inverse_of_power(factor);
  }
}

// Q for 8-bit K and V: a group of copies begins, if it has 16 bits.
template <class Config>
PAGODA_DEVICE void begin_query(const AttentionParams& params, const PieceSlot& slot, int warp,
                               typename Config::QueryTile& tile) {
  if (params.q.dtype == DType::kFloat8E4M3) {
    convert_query<Config>(params, slot, warp, tile);
    sm90::cp_async_commit();
  } else {
    copy_query<Config>(params, slot, warp, tile);
  }
}

// When the copies are there.
template <class Config>
PAGODA_DEVICE void finish_query(const AttentionParams& params, int warp,
                                typename Config::QueryTile& tile,
                                float (&unit)[Config::kTileRows]) {
  if (params.q.dtype == DType::kBFloat16) {
    bf16_query_to_f16<Config>(warp, tile, unit);
  } else {
    constexpr int kRows = Config::kTileRows / Config::kQueryWarps;
    for (int i = threadIdx.x % 32; i < kRows; i += 32) unit[kRows * warp + i] = 1.0f;
  }
}

// All that one of the warps does. The first one walks the share besides.
template <class Config>
PAGODA_DEVICE void fetch_and_convert(const AttentionParams& params, const Work& work, int warp,
                                     PrefillSmem<Config>& smem) {
  TileConverter<Config> converter(params, warp, smem);
  // A query tile is released before its piece, so there is nothing to wait for.
  static_assert(Config::kQueryTiles == Config::kPieces);
  const auto use = [&](const PieceSlot& slot, auto cursor) {
    auto& query = smem.queries[cursor.stage];
    converter.convert(
        slot.piece, [&] { begin_query<Config>(params, slot, warp, query); },
        [&] {
          finish_query<Config>(params, warp, query, smem.query_unit[cursor.stage]);
          sm90::fence_smem_for_async_proxy();
          sm90::arrive(smem.query_ring.full(cursor));
        });
  };
  if (warp > 0) {
    for_each_piece(smem.pieces, use);
    return converter.end();
  }
  PiecePublisher<Config::kPieces> publisher(smem.pieces);
  walk_along(params, work, [&](auto& walk) {
    const auto cursor = publisher.publish(params, walk.piece());
    sm90::keep_in_memory(walk);  // registers are few
    use(smem.pieces.slots[cursor.stage], cursor);
  });
  publisher.finish();
  converter.end();
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PREFILL_CONVERT_CUH_
