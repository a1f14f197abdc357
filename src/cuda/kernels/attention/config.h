// What one compiled attention kernel is: types, tile sizes, shared memory.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_CONFIG_H_
#define PAGODA_CUDA_KERNELS_ATTENTION_CONFIG_H_

#include <type_traits>

#include "core/arith.h"
#include "core/dtype.h"
#include "cuda/kernels/piece_ring.cuh"
#include "cuda/kernels/work.h"
#include "cuda/tile/pipeline.cuh"

namespace pagoda::cuda {

constexpr int32_t kTileRows = 64;  // packed rows of a row tile

// T: BFloat16 or Float16, the type of q, K and V. kHeadDim: head_dim rounded up to what is
// compiled; channels past the real head_dim are zeros. kPlain: logits are scaled products and masks
// are intervals; the other kernel has all that a logit or a mask can depend on.
template <class T_, int kHeadDim_, bool kPlain_>
struct AttentionConfig {
  using T = T_;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr bool kPlain = kPlain_;
  static constexpr int kMathWarps = 4;
  static constexpr int kMathThreads = 32 * kMathWarps;
  static constexpr int kThreads = kMathThreads + 32;  // and the warp that fetches
  static constexpr int kTileKeys = 64;
  static constexpr int kWarpRows = 16;   // rows of an mma.sync tile
  static constexpr int kPanelCols = 64;  // what one 128-byte swizzled row holds
  static constexpr int kPanels = kHeadDim / kPanelCols;
  static constexpr int kTileBytes = kTileKeys * kHeadDim * 2;
  static constexpr int kStages = kHeadDim <= 64 ? 6 : 3;
  static constexpr int kCtasPerSm = kHeadDim <= 128 ? 2 : 1;
  // Q stays in registers where they hold it beside the outputs; otherwise it is read from shared
  // memory for every chunk of keys.
  static constexpr bool kQueryInRegisters = kHeadDim <= 64 || (kHeadDim <= 128 && kPlain);
  // How far the fetching warp may be ahead of the math warps: as many as fit beside the stages.
  static constexpr int kPieces = kQueryInRegisters ? 4 : 2;

  static_assert(kMathWarps * kWarpRows == kTileRows && kTileKeys == kSplitAlignKeys);
};

template <class Config>
struct KvStage {
  alignas(1024) uint8_t k[Config::kTileBytes];
  alignas(1024) uint8_t v[Config::kTileBytes];
};

// Q rows of 16-bit elements. The 16-byte chunks of a row are permuted by its number, so that eight
// rows' equal chunks lie in different banks.
template <class Config>
struct QueryTile {
  static constexpr int kRowBytes = Config::kHeadDim * 2;
  static constexpr int kChunks = kRowBytes / 16;
  alignas(128) uint8_t bytes[kTileRows * kRowBytes];

  PAGODA_HD static uint32_t chunk_offset(int row, int chunk) {
    return static_cast<uint32_t>(row * kRowBytes + ((chunk ^ (row & 7)) * 16));
  }
};

template <class Config>
struct SmemPlan {
  KvStage<Config> stages[Config::kStages];
  struct NoQuery {};
  std::conditional_t<Config::kQueryInRegisters, NoQuery, QueryTile<Config>> query;
  tile::Pipeline<Config::kStages> tiles;
  PieceRing<Config::kPieces> pieces;
  SoftmaxState state[kTileRows];  // of the warps' rows, while they meet
};

// 1 KiB of an SM's 228 is taken for every CTA.
template <class Config>
constexpr bool kFits = (sizeof(SmemPlan<Config>) + 1024) * Config::kCtasPerSm <= 228 * 1024;

// Rows of f32 that the warps leave in the stage that they used last, kTileRows of them: groups of 8
// columns are permuted by the row's number, so that eight rows' equal groups lie in different
// banks.
template <class Config>
struct ExchangeRows {
  static_assert(sizeof(float) * kTileRows * Config::kHeadDim == sizeof(KvStage<Config>));
  PAGODA_HD static int offset(int row, int column) {
    return row * Config::kHeadDim + (((column / 8) ^ (row & 7)) * 8) + column % 8;
  }
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_CONFIG_H_
