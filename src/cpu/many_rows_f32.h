// The many-rows kernel's arithmetic in f32, for every type of q, K and V.
#ifndef PAGODA_CPU_MANY_ROWS_F32_H_
#define PAGODA_CPU_MANY_ROWS_F32_H_

#include "core/arith.h"
#include "cpu/kernels.h"
#include "cpu/load_rows.h"
#include "cpu/many_rows_band.h"
#include "cpu/simd.h"

namespace pagoda::cpu {
namespace {

struct ManyRowsF32 {
  using Element = float;  // of packed q, K and V
  using Vector = F32;
  static constexpr int32_t kSpan = 1;
  static constexpr int32_t kRunChannels = 16;
  static constexpr int32_t kKeyStep = kKeyUnroll;  // keys that multiply_keys() takes
  template <class T>
  static constexpr bool kHolds = true;

  PAGODA_HD static int32_t row_stride(int32_t head_dim) { return round_up(head_dim, kLanes); }

  PAGODA_HD static F32 load(const float* p) { return F32::load(p); }
  PAGODA_HD static F32 broadcast(const float* p) { return F32(*p); }
  PAGODA_HD static F32 multiply(F32 a, F32 b, F32 sum) { return fma(a, b, sum); }

  // k: [kStripKeys][row_stride].
  template <class T>
  PAGODA_HD static void load_keys(const T* const (&rows)[kStripKeys], int32_t head_dim, float* k) {
    for (const T* row : rows) {
      load_row(k, row, head_dim);
      k += row_stride(head_dim);
    }
  }

  // v: as k; with `scales` by key if there are any.
  template <class T>
  PAGODA_HD static void load_values(const T* const (&rows)[kStripKeys], const float* scales,
                                    int32_t head_dim, float* v) {
    load_keys(rows, head_dim, v);
    if (scales == nullptr) return;
    for (int32_t i = 0; i < kStripKeys; ++i) {
      scale_row(v + i * row_stride(head_dim), scales[i], head_dim);
    }
  }

  // weights: [kStripKeys][kBandRows]. Of keys i, which is even, and i + 1.
  PAGODA_HD static void store_weights(const F32 (&weight)[2][kBandVectors], int32_t i,
                                      float* weights) {
    for (int j = 0; j < 2; ++j) {
      for (int v = 0; v < kBandVectors; ++v) {
        weight[j][v].store(weights + (i + j) * kBandRows + v * kLanes);
      }
    }
  }
  PAGODA_HD static float weight(const float* weights, int32_t i, int32_t lane) {
    return weights[i * kBandRows + lane];
  }
};

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_MANY_ROWS_F32_H_
