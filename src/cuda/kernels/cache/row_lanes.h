// How rows are spread over the threads of a cache operation: a power of two of lanes for each row,
// all in one warp, each of which takes units of the row in turn.
#ifndef PAGODA_CUDA_KERNELS_CACHE_ROW_LANES_H_
#define PAGODA_CUDA_KERNELS_CACHE_ROW_LANES_H_

#include <cstdint>

#include "core/arith.h"

namespace pagoda::cuda {

constexpr int kCacheThreads = 128;  // of a CTA: few enough that 64 tokens reach most SMs

struct RowLanes {
  int32_t num_units;   // of a row
  int32_t lanes_log2;  // lanes of a row
  uint32_t num_rows;

  PAGODA_HD int32_t lanes() const { return 1 << lanes_log2; }
  PAGODA_HD uint32_t cta_rows() const { return kCacheThreads >> lanes_log2; }
  PAGODA_HD uint32_t num_ctas() const { return ceil_div(num_rows, cta_rows()); }
};

inline RowLanes make_row_lanes(int32_t num_units, uint32_t num_rows) {
  RowLanes result{num_units, 0, num_rows};
  while (result.lanes() < num_units && result.lanes() < 32) ++result.lanes_log2;
  return result;
}

// These keep a device busy. Where there are more, each may take several rows, one after another.
constexpr int64_t kEnoughLanes = 132 * 1024;

// How many rows, up to `most`, each lane takes if one would need `lanes`.
inline int32_t rows_by_lane(const RowLanes& lanes, int32_t most) {
  const int64_t num_lanes = int64_t{lanes.num_rows} * lanes.lanes();
  return static_cast<int32_t>(clamp_to<int64_t>(ceil_div(num_lanes, kEnoughLanes), 1, most));
}

// A row's elements two chunks at a time: first those that are rotated, as pairs, then the others.
// Chunk lengths are vectors', or 1.
struct RowUnits {
  int32_t head_dim;
  int32_t rotary_dim;  // 0 = no rotation
  bool interleaved;

  PAGODA_HD int32_t num_rotated(int32_t chunk) const { return rotary_dim / (2 * chunk); }
  PAGODA_HD int32_t num_others(int32_t chunk) const {
    return ceil_div(head_dim - rotary_dim, 2 * chunk);
  }
  PAGODA_HD int32_t count(int32_t chunk) const { return num_rotated(chunk) + num_others(chunk); }
};

// Where the two chunks of a unit begin. Behind the last unit there is none.
struct UnitPlace {
  int32_t first;
  int32_t second;
  bool has_first;
  bool has_second;
  bool is_rotated;  // neox, or chunks of 1: first and second are pairs; else pairs lie inside
};

PAGODA_HD UnitPlace unit_place(const RowUnits& row, int32_t chunk, int32_t unit) {
  const int32_t num_rotated = row.num_rotated(chunk);
  if (unit < num_rotated) {
    if (row.interleaved && chunk == 1) return {2 * unit, 2 * unit + 1, true, true, true};
    return {chunk * unit, row.rotary_dim / 2 + chunk * unit, true, true, true};
  }
  const int32_t other = unit - num_rotated;
  const int32_t num_others = row.num_others(chunk);
  const int32_t first = row.rotary_dim + chunk * other;
  const int32_t second = first + chunk * num_others;
  return {first, second, other < num_others, other < num_others && second < row.head_dim, false};
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_CACHE_ROW_LANES_H_
