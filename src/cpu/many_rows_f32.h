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
  template <class T>
  static constexpr bool kHolds = true;

  PAGODA_HD static int32_t row_stride(int32_t head_dim) { return round_up(head_dim, kLanes); }

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

  static constexpr int32_t kRunChannels = 16;

  // Dots of kKeyUnroll keys over num_channels, at most kRunChannels.
  PAGODA_HD static KeySums multiply_run(const float* q, const float* k, int32_t head_dim,
                                        int32_t num_channels) {
    const int32_t stride = row_stride(head_dim);
    KeySums sums;
    for (auto& key : sums.of) {
      for (F32& x : key) x = F32(0.0f);
    }
#pragma GCC unroll 16
    for (int32_t d = 0; d < num_channels; ++d) {
      F32 query[kBandVectors];
      for (int v = 0; v < kBandVectors; ++v) query[v] = F32::load(q + d * kBandRows + v * kLanes);
      for (int j = 0; j < kKeyUnroll; ++j) {
        const F32 key(k[j * stride + d]);
        for (int v = 0; v < kBandVectors; ++v) sums.of[j][v] = fma(key, query[v], sums.of[j][v]);
      }
    }
    return sums;
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

  // out[d][row] = out[d][row] * factor[row] + sum over keys of weights[key][row] * v[key][d]; no
  // factor is one of 1.
  static void weigh_values(const float* weights, const float* v, int32_t num_keys, int32_t head_dim,
                           const float* factor, float* out) {
    const int32_t stride = row_stride(head_dim);
    for (int32_t d = 0; d < head_dim; d += kUnroll) {
      OutBlock block(out + d * kBandRows, factor);
      for (int32_t i = 0; i < num_keys; ++i) {
        const float* value = v + i * stride + d;
        F32 weight[kBandVectors];
        for (int b = 0; b < kBandVectors; ++b)
          weight[b] = F32::load(weights + i * kBandRows + b * kLanes);
        for (int j = 0; j < kUnroll; ++j) {
          const F32 channel(value[j]);
          for (int b = 0; b < kBandVectors; ++b) {
            block.sum[j][b] = fma(channel, weight[b], block.sum[j][b]);
          }
        }
      }
      block.store(out + d * kBandRows);
    }
  }
};

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_MANY_ROWS_F32_H_
