// What one compiled prefill kernel is: types, tile sizes, shared memory.
#ifndef PAGODA_CUDA_KERNELS_PREFILL_CONFIG_H_
#define PAGODA_CUDA_KERNELS_PREFILL_CONFIG_H_

#include <type_traits>

#include "core/dtype.h"
#include "cuda/kernels/piece_ring.cuh"
#include "cuda/kernels/type_if.h"
#include "cuda/tile/pipeline.cuh"
#include "cuda/tile/smem_tile.cuh"

namespace pagoda::cuda {

// What K and V are stored as: like q, or in 8 bits, perhaps with scales of their tokens.
enum class PrefillKv { kLikeQ, k8Bit, kScaled8Bit };

// T: the type of the products' factors, and of q, K and V. These may have 8 bits instead: K and V
// of e4m3, e5m2 or, with scales of tokens, int8, each of whose values T holds, and q of e4m3.
// kHeadDim: head_dim rounded up to what is compiled. kSoftCap: logits have a soft cap.
template <class T_, PrefillKv kKv, int kHeadDim_, bool kSoftCap_>
struct PrefillConfig {
  using T = T_;
  static constexpr bool kKv8Bit = kKv != PrefillKv::kLikeQ;
  static constexpr bool kTokenScales = kKv == PrefillKv::kScaled8Bit;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr bool kSoftCap = kSoftCap_;
  static constexpr int kMathGroups = 2;  // warpgroups of 64 rows
  static constexpr int kGroupRows = 64;
  static constexpr int kTileRows = kMathGroups * kGroupRows;
  static constexpr int kTileKeys = kHeadDim <= 128 ? 128 : 64;
  static constexpr int kThreads = 128 * (1 + kMathGroups);  // and the warpgroup that fetches
  // Its warps that bring a tile of K or V, or of Q: one, one and two; or all of them everything,
  // where they convert it.
  static constexpr int kKvWarps = kKv8Bit ? 4 : 1;
  static constexpr int kQueryWarps = kKv8Bit ? 4 : 2;
  // On a filled stage: of every lane that converts (compute-sanitizer does not see that
  // __syncwarp() orders the others' stores before one lane's arrival), or of the lane that calls
  // the copy engine.
  static constexpr int kKvArrivals = kKv8Bit ? 32 * kKvWarps : 1;
  // Lanes of a math warp that release keys: as kKvArrivals, where each has read scales.
  static constexpr int kKeyReleases = kTokenScales ? 32 : 1;
  static constexpr int kKeyStages = kKv8Bit ? 2 : 3;
  static constexpr int kValueStages = 2;
  static constexpr int kPieces = 2;
  static constexpr int kQueryTiles = kHeadDim <= 128 ? 2 : 1;
  // Slices of 16 keys whose softmax ends beside the last product with V.
  static constexpr int kFirstSlices = kTileKeys / 32;
  // A CTA starts with as many registers per thread as it can have, and can only move them.
  static constexpr bool kRegistersAreFew = kHeadDim > 128;
  static constexpr int kFetchRegisters = kRegistersAreFew ? 56 : 72;
  static constexpr int kMathRegisters = kRegistersAreFew ? 224 : 216;
  static_assert(kFetchRegisters + kMathGroups * kMathRegisters <=
                    65536 / kThreads / 8 * 8 * kThreads / 128,
                "more registers than the CTA has: the math groups would wait for ever");
  // Bytes of a tile of K or V, as they are before they are converted. Where tiles began at odd
  // multiples of 16, the kernel took a quarter longer.
  struct alignas(128) RawTile {
    uint8_t bytes[kTileKeys * kHeadDim];
  };
  struct alignas(16) KeyScales {
    float of[kTileKeys];
  };
  using QueryTile = tile::SmemTile<T, kTileRows, kHeadDim, sm90::Swizzle::k128B>;
  using KeyTile = tile::SmemTile<T, kTileKeys, kHeadDim, sm90::Swizzle::k128B>;

  // Where a piece's query tile is in its ring.
  using QueryCursor = tile::PipelineCursor<kQueryTiles>;
  PAGODA_DEVICE static QueryCursor query_cursor(tile::PipelineCursor<kPieces> piece) {
    if constexpr (kQueryTiles == kPieces) {
      return piece;
    } else {  // the one tile is filled for every piece, so its rounds have the parity of slots
      static_assert(kQueryTiles == 1 && kPieces == 2);
      return {.stage = 0, .parity = static_cast<uint32_t>(piece.stage)};
    }
  }
};

template <class Config>
struct PrefillSmem {
  typename Config::QueryTile queries[Config::kQueryTiles];  // then output, on its way to memory
  typename Config::KeyTile keys[Config::kKeyStages];
  typename Config::KeyTile values[Config::kValueStages];
  TypeIf<Config::kKv8Bit, typename Config::RawTile[2]> raw;  // on their way: see TileConverter
  TypeIf<Config::kTokenScales, typename Config::KeyScales[Config::kKeyStages]> key_scales;
  tile::Pipeline<Config::kKeyStages> key_ring;
  tile::Pipeline<Config::kValueStages> value_ring;
  tile::Pipeline<Config::kQueryTiles> query_ring;
  PieceRing<Config::kPieces> pieces;
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PREFILL_CONFIG_H_
