// What one compiled attention kernel is: types, tile sizes, shared memory.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_CONFIG_H_
#define PAGODA_CUDA_KERNELS_ATTENTION_CONFIG_H_

#include <type_traits>

#include "core/arith.h"
#include "core/dtype.h"
#include "cuda/kernels/piece_ring.cuh"
#include "cuda/kernels/type_if.h"
#include "cuda/kernels/work.h"
#include "cuda/tile/pipeline.cuh"

namespace pagoda::cuda {

constexpr int32_t kTileRows = 64;  // packed rows of a row tile

// KvT: the type of K and V; of q too if it has 16 bits. 8-bit K and V are multiplied as f16, which
// holds each of their values; q may have any type then. kHeadDim: head_dim rounded up to what is
// compiled; channels past the real head_dim are zeros. kPlain: logits are scaled products, but for
// int8 without scales per token, and masks are intervals; the other kernel has all that a logit or
// a mask can depend on.
template <class KvT_, int kHeadDim_, bool kPlain_>
struct AttentionConfig {
  using KvT = KvT_;
  static constexpr int kKvBytes = sizeof(KvT);
  static constexpr bool kKv8Bit = kKvBytes == 1;
  using T = std::conditional_t<kKv8Bit, Float16, KvT>;  // of the products' factors
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr bool kPlain = kPlain_;
  // Whether tokens can have scales. int8 ones always have.
  static constexpr bool kTokenScales = kKv8Bit && (!kPlain || std::is_same_v<KvT, int8_t>);
  static constexpr int kCtasPerSm = kHeadDim <= 128 ? 2 : 1;
  static constexpr int kMathWarps = 4;
  static constexpr int kMathThreads = 32 * kMathWarps;
  // And a warpgroup of which one warp walks along the share, one fetches K and one V: a whole one,
  // because only warpgroups can leave registers to each other.
  static constexpr int kThreads = kMathThreads + 128;
  static constexpr int kFetchRegisters = kTokenScales ? 80 : 64;
  static constexpr int kMathRegisters = kCtasPerSm == 1 ? 240 : 256 - kFetchRegisters;
  static constexpr int kTileKeys = 128 / kKvBytes;  // a tile of any type has the same bytes
  static constexpr int kWarpRows = 16;              // rows of an mma.sync tile
  // A warp's keys of one step. More of them at once wait less for each other's results.
  static constexpr int kChunkKeys = kKv8Bit ? 32 : 16;
  static constexpr int kPanelBytes = 128;  // a swizzled line, of one key
  static constexpr int kPanelCols = kPanelBytes / kKvBytes;
  static constexpr int kPanels = ceil_div(kHeadDim, kPanelCols);
  static constexpr int kTileBytes = kTileKeys * kPanels * kPanelBytes;
  // Q stays in registers where they hold it beside the outputs; otherwise it is read from shared
  // memory for every chunk of keys.
  static constexpr bool kQueryInRegisters = kHeadDim <= 64 || (kHeadDim <= 128 && kPlain);
  // How far the walking warp may be ahead of the math warps: as many as fit beside the stages.
  static constexpr int kPieces = kQueryInRegisters ? 4 : 2;

  static_assert(kMathWarps * kWarpRows == kTileRows && kTileKeys % kSplitAlignKeys == 0);
};

// A lane's part of 16 rows times a chunk's keys: of keys 8 * j + 2 * (lane % 4) + {0, 1}, x[j][0]
// and x[j][1] in row lane / 4, x[j][2] and x[j][3] in row lane / 4 + 8.
template <class Config>
using ChunkTile = float[Config::kChunkKeys / 8][4];

template <class Config>
struct KvStage {
  alignas(1024) uint8_t k[Config::kTileBytes];
  alignas(1024) uint8_t v[Config::kTileBytes];
};

// The scales of a tile's tokens.
template <class Config>
struct alignas(16) TokenScales {
  float k[Config::kTileKeys];
  float v[Config::kTileKeys];
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

// As many as fit. 1 KiB of an SM's 228 is taken for every CTA; another is enough for barriers,
// pieces and states.
template <class Config>
constexpr int kStages = [] {
  const size_t query = Config::kQueryInRegisters ? 0 : sizeof(QueryTile<Config>);
  const size_t scales = Config::kTokenScales ? sizeof(TokenScales<Config>) : 0;
  const size_t rest = (228 / Config::kCtasPerSm - 2) * 1024 - query;
  return min_of(6, static_cast<int>(rest / (sizeof(KvStage<Config>) + scales)));
}();

template <class Config>
struct SmemPlan {
  KvStage<Config> stages[kStages<Config>];
  TypeIf<!Config::kQueryInRegisters, QueryTile<Config>> query;
  TypeIf<Config::kTokenScales, TokenScales<Config>[kStages<Config>]> token_scales;
  TypeIf<Config::kKv8Bit, float[kTileRows]> query_unit;  // what 1 stands for in a row of `query`
  tile::Pipeline<kStages<Config>> tiles;
  PieceRing<Config::kPieces> pieces;
  SoftmaxState state[kTileRows];  // of the warps' rows, while they meet
};

template <class Config>
constexpr bool kFits = (sizeof(SmemPlan<Config>) + 1024) * Config::kCtasPerSm <= 228 * 1024;

// Rows of f32 that the warps leave in the stage that they used last, kTileRows of them: groups of 8
// columns are permuted by the row's number, so that eight rows' equal groups lie in different
// banks.
template <class Config>
struct ExchangeRows {
  static_assert(sizeof(float) * kTileRows * Config::kHeadDim <= sizeof(KvStage<Config>));
  PAGODA_HD static int offset(int row, int column) {
    return row * Config::kHeadDim + (((column / 8) ^ (row & 7)) * 8) + column % 8;
  }
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_CONFIG_H_
