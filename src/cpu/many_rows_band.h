// A band: the rows that the many-rows kernel takes through QK, softmax and PV together, one in each
// lane of some vectors.
#ifndef PAGODA_CPU_MANY_ROWS_BAND_H_
#define PAGODA_CPU_MANY_ROWS_BAND_H_

#include "core/arith.h"
#include "cpu/simd.h"
#include "semantics/mask.h"

namespace pagoda::cpu {
namespace {

// Register tiles: kBandVectors vectors of rows by kUnroll channels of outputs, beside one broadcast
// and the rows' own vectors; or by kKeyUnroll keys, in sums of a run of channels and of all.
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
constexpr int kKeyUnroll = 4;
constexpr int kBandRows = kBandVectors * kLanes;
// The bands of an item share its K/V strips. With half as many rows, loading and fetching strips
// shows; with twice as many, outputs and Q leave little of L2.
constexpr int kManyRowsTile = 256 / kBandRows * kBandRows;

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

// Sums of kKeyUnroll keys, in registers.
struct KeySums {
  F32 of[kKeyUnroll][kBandVectors];
};

// What both loops below are made of, by Arithmetic (many_rows_f32.h, many_rows_bf16.h):
//   Vector, load(p), broadcast(p)   kSpan elements of q, K, V or weights in each 32-bit lane
//   multiply(a, b, sum)             adds the products of each lane's elements to its sum

// Dots of kKeyUnroll keys over num_channels, at most kRunChannels.
template <class Arithmetic>
PAGODA_HD KeySums multiply_run(const typename Arithmetic::Element* q,
                               const typename Arithmetic::Element* k, int32_t stride,
                               int32_t num_channels) {
  constexpr int32_t kSpan = Arithmetic::kSpan;
  KeySums sums;
  for (auto& key : sums.of) {
    for (F32& x : key) x = F32(0.0f);
  }
#pragma GCC unroll 4
  for (int32_t d = 0; d < num_channels; d += kSpan) {
    typename Arithmetic::Vector query[kBandVectors];
    for (int v = 0; v < kBandVectors; ++v) {
      query[v] = Arithmetic::load(q + d * kBandRows + v * kLanes * kSpan);
    }
    for (int j = 0; j < kKeyUnroll; ++j) {
      const auto key = Arithmetic::broadcast(k + j * stride + d);
      for (int v = 0; v < kBandVectors; ++v) {
        sums.of[j][v] = Arithmetic::multiply(key, query[v], sums.of[j][v]);
      }
    }
  }
  return sums;
}

// scores[key][row] = dot(k, q) for kKeyUnroll keys. Dots are summed in runs of channels: a large
// product then costs low bits in the sums of its own run only, not in all that follow.
template <class Arithmetic>
PAGODA_HD void multiply_keys(const typename Arithmetic::Element* q,
                             const typename Arithmetic::Element* k, int32_t head_dim,
                             float (*scores)[kBandRows]) {
  constexpr int32_t kRun = Arithmetic::kRunChannels;
  const int32_t stride = Arithmetic::row_stride(head_dim);
  KeySums total = multiply_run<Arithmetic>(q, k, stride, min_of(kRun, head_dim));
  for (int32_t d = kRun; d < head_dim; d += kRun) {
    const KeySums run =
        multiply_run<Arithmetic>(q + d * kBandRows, k + d, stride, min_of(kRun, head_dim - d));
    for (int j = 0; j < kKeyUnroll; ++j) {
      for (int v = 0; v < kBandVectors; ++v) total.of[j][v] = total.of[j][v] + run.of[j][v];
    }
  }
  for (int j = 0; j < kKeyUnroll; ++j) {
    for (int v = 0; v < kBandVectors; ++v) total.of[j][v].store(scores[j] + v * kLanes);
  }
}

// kUnroll channels of the outputs [channel][row], in registers.
struct OutBlock {
  F32 sum[kUnroll][kBandVectors];

  // Times `factor`, by row, where there is one: only then have maxima moved.
  PAGODA_HD OutBlock(const float* out, const float* factor) {
    for (int v = 0; v < kBandVectors; ++v) {
      for (int j = 0; j < kUnroll; ++j) sum[j][v] = F32::load(out + j * kBandRows + v * kLanes);
      if (factor == nullptr) continue;
      const F32 by = F32::load(factor + v * kLanes);
      for (int j = 0; j < kUnroll; ++j) sum[j][v] = sum[j][v] * by;
    }
  }
  PAGODA_HD void store(float* out) const {
    for (int j = 0; j < kUnroll; ++j) {
      for (int v = 0; v < kBandVectors; ++v) sum[j][v].store(out + j * kBandRows + v * kLanes);
    }
  }
};

// out[d][row] = out[d][row] * factor[row] + sum over keys of weights[key][row] * v[key][d]; no
// factor is one of 1. weights, v: as Arithmetic stores them, kSpan keys in each lane.
template <class Arithmetic>
void weigh_values(const typename Arithmetic::Element* weights,
                  const typename Arithmetic::Element* v, int32_t num_keys, int32_t head_dim,
                  const float* factor, float* out) {
  constexpr int32_t kSpan = Arithmetic::kSpan;
  const int32_t num_steps = ceil_div(num_keys, kSpan);
  const int32_t stride = kSpan * Arithmetic::row_stride(head_dim);
  for (int32_t d = 0; d < head_dim; d += kUnroll) {
    OutBlock block(out + d * kBandRows, factor);
#pragma GCC unroll 4
    for (int32_t i = 0; i < num_steps; ++i) {
      const auto* value = v + i * stride + d * kSpan;
      typename Arithmetic::Vector weight[kBandVectors];
      for (int b = 0; b < kBandVectors; ++b) {
        weight[b] = Arithmetic::load(weights + (i * kBandRows + b * kLanes) * kSpan);
      }
      for (int j = 0; j < kUnroll; ++j) {
        const auto channel = Arithmetic::broadcast(value + j * kSpan);
        for (int b = 0; b < kBandVectors; ++b) {
          block.sum[j][b] = Arithmetic::multiply(channel, weight[b], block.sum[j][b]);
        }
      }
    }
    block.store(out + d * kBandRows);
  }
}

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_MANY_ROWS_BAND_H_
