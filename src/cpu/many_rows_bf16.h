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

  // q: [head_dim / 2][kBandRows] pairs along head_dim.
  PAGODA_HD static void pack_query(const BFloat16* row, int32_t head_dim, int32_t lane,
                                   BFloat16* q) {
    for (int32_t d = 0; d < head_dim; d += 2) {
      __builtin_memcpy(q + d * kBandRows + 2 * lane, row + d, 2 * sizeof(BFloat16));
    }
  }

  // k: [kStripKeys][row_stride].
  template <class T>
  PAGODA_HD static void load_keys(const T* const (&rows)[kStripKeys], int32_t head_dim,
                                  BFloat16* k) {
    for (const T* row : rows) {
      load_row(k, row, head_dim);
      k += row_stride(head_dim);
    }
  }

  // v: [kStripKeys / 2][row_stride] pairs of two keys.
  template <class T>
  PAGODA_HD static void load_values(const T* const (&rows)[kStripKeys], int32_t head_dim,
                                    BFloat16* v) {
    for (int32_t i = 0; i < kStripKeys; i += 2) {
      for (int32_t d = 0; d < head_dim; d += kBf16Lanes) {
        const int count = min_of(kBf16Lanes, head_dim - d);
        const Bf16Pairs even = load_bf16(rows[i] + d, count);
        const Bf16Pairs odd = load_bf16(rows[i + 1] + d, count);
        interleave(even, odd, 0).store(v + 2 * d);
        interleave(even, odd, kLanes).store(v + 2 * d + kBf16Lanes);
      }
      v += 2 * row_stride(head_dim);
    }
  }

  // As ManyRowsF32's.
  PAGODA_HD static void multiply_keys(const BFloat16* q, const BFloat16* k, int32_t head_dim,
                                      float (*scores)[kBandRows]) {
    const int32_t stride = row_stride(head_dim);
    multiply_run<true>(q, k, stride, min_of(kRunChannels, head_dim), scores);
    for (int32_t d = kRunChannels; d < head_dim; d += kRunChannels) {
      multiply_run<false>(q + d * kBandRows, k + d, stride, min_of(kRunChannels, head_dim - d),
                          scores);
    }
  }

  // As ManyRowsF32's.
  static void weigh_values(const float (*weights)[kBandRows], const BFloat16* v, int32_t num_keys,
                           int32_t head_dim, float* out) {
    alignas(64) BFloat16 pairs[kStripKeys / 2][2 * kBandRows];
    pack_weights(weights, num_keys, pairs);
    const int32_t num_pairs = ceil_div(num_keys, 2);
    const int32_t stride = 2 * row_stride(head_dim);
    for (int32_t d = 0; d < head_dim; d += kUnroll) {
      OutBlock block(out + d * kBandRows);
      for (int32_t i = 0; i < num_pairs; ++i) {
        const BFloat16* value = v + i * stride + 2 * d;
        Bf16Pairs weight[kBandVectors];
        for (int b = 0; b < kBandVectors; ++b) {
          weight[b] = Bf16Pairs::load(pairs[i] + b * kBf16Lanes);
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

 private:
  static constexpr int32_t kRunChannels = 32;

  // Some channels of q and k.
  template <bool kFirst>
  PAGODA_HD static void multiply_run(const BFloat16* q, const BFloat16* k, int32_t stride,
                                     int32_t num_channels, float (*scores)[kBandRows]) {
    F32 sum[kUnroll][kBandVectors];
    for (auto& key : sum) {
      for (F32& x : key) x = F32(0.0f);
    }
    for (int32_t d = 0; d < num_channels; d += 2) {
      Bf16Pairs query[kBandVectors];
      for (int v = 0; v < kBandVectors; ++v) {
        query[v] = Bf16Pairs::load(q + d * kBandRows + v * kBf16Lanes);
      }
      for (int j = 0; j < kUnroll; ++j) {
        const Bf16Pairs key = Bf16Pairs::broadcast(k + j * stride + d);
        for (int v = 0; v < kBandVectors; ++v) sum[j][v] = dot(key, query[v], sum[j][v]);
      }
    }
    add_to_scores<kFirst>(sum, scores);
  }

  // Pairs of two keys' weights; an odd key is paired with a weight of 0.
  PAGODA_HD static void pack_weights(const float (*weights)[kBandRows], int32_t num_keys,
                                     BFloat16 (*pairs)[2 * kBandRows]) {
    for (int32_t i = 0; i < num_keys; i += 2) {
      for (int b = 0; b < kBandVectors; ++b) {
        const F32 even = F32::load(weights[i] + b * kLanes);
        const F32 odd = i + 1 < num_keys ? F32::load(weights[i + 1] + b * kLanes) : F32(0.0f);
        zip_halves(to_bf16_pairs(even, odd)).store(pairs[i / 2] + b * kBf16Lanes);
      }
    }
  }
};

}  // namespace
}  // namespace pagoda::cpu
#endif  // PAGODA_HAS_BF16_DOT

#endif  // PAGODA_CPU_MANY_ROWS_BF16_H_
