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
  using Vector = Bf16Pairs;
  static constexpr int32_t kSpan = 2;
  static constexpr int32_t kRunChannels = 32;
  static constexpr int32_t kKeyStep = kKeyUnroll;
  template <class T>
  static constexpr bool kHolds = kHeldByBf16<T>;

  PAGODA_HD static int32_t row_stride(int32_t head_dim) { return round_up(head_dim, kBf16Lanes); }

  PAGODA_HD static Bf16Pairs load(const BFloat16* p) { return Bf16Pairs::load(p); }
  PAGODA_HD static Bf16Pairs broadcast(const BFloat16* p) { return Bf16Pairs::broadcast(p); }
  PAGODA_HD static F32 multiply(Bf16Pairs a, Bf16Pairs b, F32 sum) { return dot(a, b, sum); }

  // k: [kStripKeys][row_stride].
  template <class T>
  PAGODA_HD static void load_keys(const T* const (&rows)[kStripKeys], int32_t head_dim,
                                  BFloat16* k) {
    for (const T* row : rows) {
      load_row(k, row, head_dim);
      k += row_stride(head_dim);
    }
  }

  // Channels from d on of the i-th row; with `scales` by key if there are any, and then rounded, as
  // are the values of a cache that is dequantised to bf16.
  template <class T>
  PAGODA_HD static Bf16Pairs load_value(const T* const (&rows)[kStripKeys], const float* scales,
                                        int32_t head_dim, int32_t i, int32_t d) {
    const int count = min_of(kBf16Lanes, head_dim - d);
    return scales == nullptr ? load_bf16(rows[i] + d, count)
                             : load_scaled_bf16(rows[i] + d, count, scales[i]);
  }

  // v: [kStripKeys / 2][row_stride] pairs of two keys.
  template <class T>
  PAGODA_HD static void load_values(const T* const (&rows)[kStripKeys], const float* scales,
                                    int32_t head_dim, BFloat16* v) {
    for (int32_t i = 0; i < kStripKeys; i += 2) {
      for (int32_t d = 0; d < head_dim; d += kBf16Lanes) {
        const Bf16Pairs even = load_value(rows, scales, head_dim, i, d);
        const Bf16Pairs odd = load_value(rows, scales, head_dim, i + 1, d);
        interleave(even, odd, 0).store(v + 2 * d);
        interleave(even, odd, kLanes).store(v + 2 * d + kBf16Lanes);
      }
      v += 2 * row_stride(head_dim);
    }
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
};

}  // namespace
}  // namespace pagoda::cpu
#endif  // PAGODA_HAS_BF16_DOT

#endif  // PAGODA_CPU_MANY_ROWS_BF16_H_
