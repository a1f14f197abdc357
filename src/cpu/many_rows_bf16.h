// The many-rows kernel's arithmetic by products of bf16 pairs: for a q, K and V whose values bf16
// holds exactly. Weights are rounded to bf16, as they are in the tensors' own type; their sum is
// not.
#ifndef PAGODA_CPU_MANY_ROWS_BF16_H_
#define PAGODA_CPU_MANY_ROWS_BF16_H_

#include "core/arith.h"
#include "cpu/bf16_pairs.h"
#include "cpu/kernels.h"
#include "cpu/many_rows_band.h"

#if PAGODA_HAS_BF16_DOT
namespace pagoda::cpu {
namespace {

struct ManyRowsBf16 {
  using Element = BFloat16;
  template <class T>
  static constexpr bool kHolds = kHeldByBf16<T>;

  PAGODA_HD static int32_t row_stride(int32_t head_dim) { return round_up(head_dim, kBf16Lanes); }

  // k: [kStripKeys][row_stride].
  template <class T>
  PAGODA_HD static void load_keys(const T* const (&rows)[kStripKeys], int32_t head_dim,
                                  BFloat16* k) {
    for (const T* row : rows) {
      load_row(k, row, head_dim);
      k += row_stride(head_dim);
    }
  }

  // v: [kStripKeys / 2][row_stride] pairs of two keys; with `scales` by key if there are any, and
  // then rounded, as are the values of a cache that is dequantised to bf16.
  template <class T>
  PAGODA_HD static void load_values(const T* const (&rows)[kStripKeys], const float* scales,
                                    int32_t head_dim, BFloat16* v) {
    const auto load = [&](int32_t i, int32_t d) {
      const int count = min_of(kBf16Lanes, head_dim - d);
      return scales == nullptr ? load_bf16(rows[i] + d, count)
                               : load_scaled_bf16(rows[i] + d, count, scales[i]);
    };
    for (int32_t i = 0; i < kStripKeys; i += 2) {
      for (int32_t d = 0; d < head_dim; d += kBf16Lanes) {
        const Bf16Pairs even = load(i, d);
        const Bf16Pairs odd = load(i + 1, d);
        interleave(even, odd, 0).store(v + 2 * d);
        interleave(even, odd, kLanes).store(v + 2 * d + kBf16Lanes);
      }
      v += 2 * row_stride(head_dim);
    }
  }

  static constexpr int32_t kRunChannels = 32;

  // As ManyRowsF32's.
  PAGODA_HD static KeySums multiply_run(const BFloat16* q, const BFloat16* k, int32_t head_dim,
                                        int32_t num_channels) {
    const int32_t stride = row_stride(head_dim);
    KeySums sums;
    for (auto& key : sums.of) {
      for (F32& x : key) x = F32(0.0f);
    }
#pragma GCC unroll 4
    for (int32_t d = 0; d < num_channels; d += 2) {
      Bf16Pairs query[kBandVectors];
      for (int v = 0; v < kBandVectors; ++v) {
        query[v] = Bf16Pairs::load(q + d * kBandRows + v * kBf16Lanes);
      }
      for (int j = 0; j < kKeyUnroll; ++j) {
        const Bf16Pairs key = Bf16Pairs::broadcast(k + j * stride + d);
        for (int v = 0; v < kBandVectors; ++v) sums.of[j][v] = dot(key, query[v], sums.of[j][v]);
      }
    }
    return sums;
  }

  // weights: [kStripKeys / 2][kBandRows] pairs of two keys.
  PAGODA_HD static void store_weights(const F32 (&weight)[2][kBandVectors], int32_t i,
                                      BFloat16* weights) {
    for (int v = 0; v < kBandVectors; ++v) {
      zip_halves(to_bf16_pairs(weight[0][v], weight[1][v]))
          .store(weights + i * kBandRows + v * kBf16Lanes);
    }
  }
  PAGODA_HD static float weight(const BFloat16* weights, int32_t i, int32_t lane) {
    return to_float(weights[(i / 2 * kBandRows + lane) * 2 + i % 2]);
  }

  // As ManyRowsF32's.
  static void weigh_values(const BFloat16* weights, const BFloat16* v, int32_t num_keys,
                           int32_t head_dim, const float* factor, float* out) {
    const int32_t num_pairs = ceil_div(num_keys, 2);
    const int32_t stride = 2 * row_stride(head_dim);
    for (int32_t d = 0; d < head_dim; d += kUnroll) {
      OutBlock block(out + d * kBandRows, factor);
#pragma GCC unroll 4
      for (int32_t i = 0; i < num_pairs; ++i) {
        const BFloat16* value = v + i * stride + 2 * d;
        Bf16Pairs weight[kBandVectors];
        for (int b = 0; b < kBandVectors; ++b) {
          weight[b] = Bf16Pairs::load(weights + 2 * i * kBandRows + b * kBf16Lanes);
        }
        for (int j = 0; j < kUnroll; ++j) {
          const Bf16Pairs channel = Bf16Pairs::broadcast(value + 2 * j);
          for (int b = 0; b < kBandVectors; ++b) {
            block.sum[j][b] = dot(channel, weight[b], block.sum[j][b]);
          }
        }
      }
      block.store(out + d * kBandRows);
    }
  }
};

}  // namespace
}  // namespace pagoda::cpu
#endif  // PAGODA_HAS_BF16_DOT

#endif  // PAGODA_CPU_MANY_ROWS_BF16_H_
