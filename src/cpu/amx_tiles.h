// Tile registers of AMX, one instruction a function. Every tile here is 16 rows of 64 bytes: 16
// rows of 16 f32, or of 32 bf16.
#ifndef PAGODA_CPU_AMX_TILES_H_
#define PAGODA_CPU_AMX_TILES_H_

#include <cstdint>

#include "core/portability.h"

#if defined(__AMX_BF16__) || defined(__AMXBF16__)  // clang 14's name
#define PAGODA_HAS_AMX 1
#else
#define PAGODA_HAS_AMX 0
#endif

#if PAGODA_HAS_AMX
namespace pagoda::cpu {
namespace {

constexpr int kTileRows = 16;
constexpr int kTileRowBytes = 64;

// Until it goes out of scope, the thread has tiles.
class TileConfig {
 public:
  TileConfig() {
    struct {
      uint8_t palette = 1;
      uint8_t start_row = 0;
      uint8_t reserved[14] = {};
      uint16_t row_bytes[16] = {};  // by tile; there are kTiles
      uint8_t rows[16] = {};
    } config;
    static_assert(sizeof(config) == 64);
    constexpr int kTiles = 8;
    for (int i = 0; i < kTiles; ++i) {
      config.row_bytes[i] = kTileRowBytes;
      config.rows[i] = kTileRows;
    }
    asm volatile("ldtilecfg %0" : : "m"(config));
  }
  ~TileConfig() { asm volatile("tilerelease"); }
  TileConfig(const TileConfig&) = delete;
  TileConfig& operator=(const TileConfig&) = delete;
};

// The compilers' intrinsics want a tile's number as a literal, which a template's argument is not.
template <int kTile>
PAGODA_HD void tile_zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
}

template <int kTile>
PAGODA_HD void tile_load(const void* rows, int64_t stride_bytes) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2"
               :
               : "r"(rows), "r"(stride_bytes), "i"(kTile)
               : "memory");
}

template <int kTile>
PAGODA_HD void tile_store(void* rows, int64_t stride_bytes) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)"
               :
               : "r"(rows), "r"(stride_bytes), "i"(kTile)
               : "memory");
}

// kSum[m][n] += kA[m][k] . kB[k][n] over 16 pairs k: their total is added last.
template <int kSum, int kA, int kB>
PAGODA_HD void tile_dot_bf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
}

}  // namespace
}  // namespace pagoda::cpu
#endif  // PAGODA_HAS_AMX

#endif  // PAGODA_CPU_AMX_TILES_H_
