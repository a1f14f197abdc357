// A band: the rows that the many-rows kernel takes through QK, softmax and PV together, one in each
// lane of some vectors.
#ifndef PAGODA_CPU_MANY_ROWS_BAND_H_
#define PAGODA_CPU_MANY_ROWS_BAND_H_

#include "cpu/simd.h"
#include "semantics/mask.h"

namespace pagoda::cpu {
namespace {

// Register tile: kBandVectors vectors of rows by kUnroll keys (or channels) of sums, beside one
// broadcast and the rows' own vectors.
#if defined(__AVX512F__)
constexpr int kBandVectors = 2;
constexpr int kUnroll = 8;
#elif defined(__aarch64__)
constexpr int kBandVectors = 4;
constexpr int kUnroll = 4;
#else
constexpr int kBandVectors = 3;
constexpr int kUnroll = 4;
#endif
constexpr int kBandRows = kBandVectors * kLanes;
// The bands of an item share its K/V strips.
constexpr int kManyRowsTile = 128 / kBandRows * kBandRows;

// One band's rows: state and what their masks and scores depend on, by lane.
struct Band {
  alignas(64) float max[kBandRows];  // of scores; times to_log2() they are in base 2
  alignas(64) float sum[kBandRows];
  alignas(64) int32_t q_pos[kBandRows];
  alignas(64) int32_t kv_begin[kBandRows];  // keys that the row's mask can show
  alignas(64) int32_t kv_end[kBandRows];
  alignas(64) float slope[kBandRows];
  int32_t num_rows;
  KvRange any;       // keys that some row sees
  KvRange unmasked;  // keys that every row sees
};

// Adds to the scores [key][row] of kUnroll keys, or begins with them. Dots are summed in runs of
// channels: a large product then costs low bits in the sums of its own run only, not in all that
// follow.
template <bool kFirst>
PAGODA_HD void add_to_scores(const F32 (&sum)[kUnroll][kBandVectors], float (*scores)[kBandRows]) {
  for (int j = 0; j < kUnroll; ++j) {
    for (int v = 0; v < kBandVectors; ++v) {
      float* score = scores[j] + v * kLanes;
      (kFirst ? sum[j][v] : F32::load(score) + sum[j][v]).store(score);
    }
  }
}

// kUnroll channels of the outputs [channel][row], in registers.
struct OutBlock {
  F32 sum[kUnroll][kBandVectors];

  PAGODA_HD explicit OutBlock(const float* out) {
    for (int j = 0; j < kUnroll; ++j) {
      for (int v = 0; v < kBandVectors; ++v)
        sum[j][v] = F32::load(out + j * kBandRows + v * kLanes);
    }
  }
  PAGODA_HD void store(float* out) const {
    for (int j = 0; j < kUnroll; ++j) {
      for (int v = 0; v < kBandVectors; ++v) sum[j][v].store(out + j * kBandRows + v * kLanes);
    }
  }
};

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_MANY_ROWS_BAND_H_
