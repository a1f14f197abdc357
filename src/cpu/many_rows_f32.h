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

  // q: [head_dim][kBandRows].
  PAGODA_HD static void pack_query(const float* row, int32_t head_dim, int32_t lane, float* q) {
    for (int32_t d = 0; d < head_dim; ++d) q[d * kBandRows + lane] = row[d];
  }

  // k: [kStripKeys][row_stride].
  template <class T>
  PAGODA_HD static void load_keys(const T* const (&rows)[kStripKeys], int32_t head_dim, float* k) {
    for (const T* row : rows) {
      load_row(k, row, head_dim);
      k += row_stride(head_dim);
    }
  }

  // v: as k.
  template <class T>
  PAGODA_HD static void load_values(const T* const (&rows)[kStripKeys], int32_t head_dim,
                                    float* v) {
    load_keys(rows, head_dim, v);
  }

  // scores[key][row] = dot(k, q) for kUnroll keys.
  PAGODA_HD static void multiply_keys(const float* q, const float* k, int32_t head_dim,
                                      float (*scores)[kBandRows]) {
    const int32_t stride = row_stride(head_dim);
    multiply_run<true>(q, k, stride, min_of(kRunChannels, head_dim), scores);
    for (int32_t d = kRunChannels; d < head_dim; d += kRunChannels) {
      multiply_run<false>(q + d * kBandRows, k + d, stride, min_of(kRunChannels, head_dim - d),
                          scores);
    }
  }

  // out[d][row] += sum over keys of weights[key][row] * v[key][d].
  static void weigh_values(const float (*weights)[kBandRows], const float* v, int32_t num_keys,
                           int32_t head_dim, float* out) {
    const int32_t stride = row_stride(head_dim);
    for (int32_t d = 0; d < head_dim; d += kUnroll) {
      OutBlock block(out + d * kBandRows);
      for (int32_t i = 0; i < num_keys; ++i) {
        const float* value = v + i * stride + d;
        F32 weight[kBandVectors];
        for (int b = 0; b < kBandVectors; ++b) weight[b] = F32::load(weights[i] + b * kLanes);
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

 private:
  static constexpr int32_t kRunChannels = 16;

  // Some channels of q and k.
  template <bool kFirst>
  PAGODA_HD static void multiply_run(const float* q, const float* k, int32_t stride,
                                     int32_t num_channels, float (*scores)[kBandRows]) {
    F32 sum[kUnroll][kBandVectors];
    for (auto& key : sum) {
      for (F32& x : key) x = F32(0.0f);
    }
#pragma GCC unroll 8
    for (int32_t d = 0; d < num_channels; ++d) {
      F32 query[kBandVectors];
      for (int v = 0; v < kBandVectors; ++v) query[v] = F32::load(q + d * kBandRows + v * kLanes);
      for (int j = 0; j < kUnroll; ++j) {
        const F32 key(k[j * stride + d]);
        for (int v = 0; v < kBandVectors; ++v) sum[j][v] = fma(key, query[v], sum[j][v]);
      }
    }
    add_to_scores<kFirst>(sum, scores);
  }
};

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_MANY_ROWS_F32_H_
