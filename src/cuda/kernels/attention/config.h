// What one compiled attention kernel is: types, tile sizes, shared memory.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_CONFIG_H_
#define PAGODA_CUDA_KERNELS_ATTENTION_CONFIG_H_

#include <type_traits>

#include "core/arith.h"
#include "core/dtype.h"
#include "cuda/kernels/work.h"

namespace pagoda::cuda {

// T: BFloat16 or Float16, the type of q, K and V. kHeadDim_: head_dim rounded up to what is
// compiled; channels past the real head_dim are zeros.
template <class T_, int kHeadDim_>
struct AttentionConfig {
  using T = T_;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kWarps = 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kTileKeys = 64;
  static constexpr int kWarpRows = 16;  // rows of an mma.sync tile
  static constexpr int kStages = kHeadDim <= 64 ? 4 : kHeadDim <= 128 ? 3 : 2;
  static constexpr int kCtasPerSm = kHeadDim <= 128 ? 2 : 1;
  // Q stays in registers where they hold it beside the outputs; otherwise it is read from shared
  // memory for every chunk of keys.
  static constexpr bool kQueryInRegisters = kHeadDim <= 128;

  static_assert(kWarps * kWarpRows == kMaxItemRows && kWarpRows == kFewRows);
};

// Rows of kHeadDim 16-bit elements. The 16-byte chunks of a row are permuted by its number, so that
// eight rows' equal chunks lie in different banks.
template <class Config, int kRows>
struct SwizzledTile {
  static constexpr int kRowBytes = Config::kHeadDim * 2;
  static constexpr int kChunks = kRowBytes / 16;
  alignas(128) typename Config::T elements[kRows * Config::kHeadDim];

  // Byte offset of a chunk of 8 elements.
  PAGODA_HD static uint32_t chunk_offset(int row, int chunk) {
    return static_cast<uint32_t>(row * kRowBytes + ((chunk ^ (row & 7)) * 16));
  }
};

template <class Config>
struct KvStage {
  SwizzledTile<Config, Config::kTileKeys> k;
  SwizzledTile<Config, Config::kTileKeys> v;
};

// Where the rows of a tile's keys lie, in elements; -1 = no such key, zeros are loaded.
template <class Config>
struct TileOffsets {
  int64_t k[Config::kTileKeys];
  int64_t v[Config::kTileKeys];
};

template <class Config>
struct SmemPlan {
  union {
    KvStage<Config> stages[Config::kStages];
    // After the last tile: [kMaxItemRows, kHeadDim] f32, what the warps have.
    float out[kMaxItemRows * Config::kHeadDim];
  };
  // Q passes through the last stage on its way to registers; kept otherwise.
  struct NoQuery {};
  using Query = SwizzledTile<Config, kMaxItemRows>;
  std::conditional_t<Config::kQueryInRegisters, NoQuery, Query> kept_query;
  // One more than stages: a tile's entry is read while the next but kStages is written.
  TileOffsets<Config> offsets[Config::kStages + 1];
  SoftmaxState state[kMaxItemRows];
  int32_t item;     // index of the item in work
  int32_t is_last;  // of its merge group

  PAGODA_HD Query& query() {
    if constexpr (Config::kQueryInRegisters) {
      return stages[Config::kStages - 1].k;
    } else {
      return kept_query;
    }
  }
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_CONFIG_H_
