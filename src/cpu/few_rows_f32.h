// The few-rows kernels' arithmetic in f32, for every type of K and V.
#ifndef PAGODA_CPU_FEW_ROWS_F32_H_
#define PAGODA_CPU_FEW_ROWS_F32_H_

#include "cpu/few_rows_tile.h"

namespace pagoda::cpu {
namespace {

template <class T>
struct F32Arithmetic {
  using Query = float;  // of packed q; rows are padded with zeros to whole vectors
  // Rows that share one pass over a tile: their Q, scores and outputs fit the registers.
  static constexpr int kRowsPerPass = 4;
  static constexpr int kTileKeys = 16;
  static constexpr int kTileVectors = kTileKeys / kLanes;

  // dots[r][key] = dot(q_r, k_key).
  template <int kRows>
  PAGODA_HD static void dot_tile(const HeadTile<T, kTileKeys>& head, const float* q,
                                 int32_t q_stride, int32_t head_dim,
                                 F32 (&dots)[kRows][kTileVectors]) {
    F32 parts[kRows][kTileVectors][kBlocks];
    for (int i = 0; i < kTileVectors * kBlocks; ++i) {
      head.tile.fetcher->fetch(1);
      const T* keys[kBlockLanes];
      for (int j = 0; j < kBlockLanes; ++j) {
        keys[j] = head.k + head.tile.keys.k_offset[i * kBlockLanes + j];
      }
      for (int32_t d = 0; d < head_dim; d += kRunChannels) {
        F32 sum[kRows][kBlockLanes];
        dot_run<kRows>(keys, q, q_stride, d, min_of(d + kRunChannels, head_dim), sum);
        for (int r = 0; r < kRows; ++r) {
          F32& part = parts[r][i / kBlocks][i % kBlocks];
          part = d == 0 ? fold_lanes(sum[r], Add()) : part + fold_lanes(sum[r], Add());
        }
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int g = 0; g < kTileVectors; ++g) dots[r][g] = add_blocks(parts[r][g]);
    }
  }

  // out_r <- out_r * factor_r + sum over keys of weight_r,key * v_key.
  template <int kRows>
  PAGODA_HD static void weigh_tile(const HeadTile<T, kTileKeys>& head,
                                   const Weighed<kRows, kTileKeys>& weighed, int32_t head_dim,
                                   RowStates result) {
    constexpr int kVectors = kLanes >= 16 ? 4 : 2;  // sums that the registers hold
    int32_t d = 0;
    for (; d + kVectors * kLanes <= head_dim; d += kVectors * kLanes) {
      weigh_block<kRows, kVectors>(head, weighed, d, kLanes, result);
    }
    for (; d + kLanes <= head_dim; d += kLanes) {
      weigh_block<kRows, 1>(head, weighed, d, kLanes, result);
    }
    if (d < head_dim) weigh_block<kRows, 1>(head, weighed, d, kLanes / 2, result);
  }

 private:
  // Products of one lane that are summed in a run, before the runs' sums are: a large product then
  // costs low bits in its own run only, not in all that follow.
  static constexpr int32_t kRunChannels = 8 * kLanes;

  // sum[r][j] = products of channels d to `end` of q_r and key j, lane by lane.
  template <int kRows>
  PAGODA_HD static void dot_run(const T* const (&keys)[kBlockLanes], const float* q,
                                int32_t q_stride, int32_t d, int32_t end,
                                F32 (&sum)[kRows][kBlockLanes]) {
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < kBlockLanes; ++j) sum[r][j] = F32(0.0f);
    }
    const auto step = [&](int32_t channel, int count) {
      F32 key[kBlockLanes];
      for (int j = 0; j < kBlockLanes; ++j) key[j] = load_elements(keys[j] + channel, count);
      for (int r = 0; r < kRows; ++r) {
        const F32 query = F32::load(q + r * q_stride + channel);
        for (int j = 0; j < kBlockLanes; ++j) sum[r][j] = fma(query, key[j], sum[r][j]);
      }
    };
    for (; d + kLanes <= end; d += kLanes) step(d, kLanes);
    if (d < end) step(d, kLanes / 2);
  }

  // weigh_tile() for `kVectors` vectors of head_dim from d on.
  template <int kRows, int kVectors>
  PAGODA_HD static void weigh_block(const HeadTile<T, kTileKeys>& head,
                                    const Weighed<kRows, kTileKeys>& weighed, int32_t d, int count,
                                    RowStates result) {
    F32 sum[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
      const F32 factor(weighed.factors[r]);
      for (int b = 0; b < kVectors; ++b) {
        sum[r][b] = F32::load(result.out + r * result.out_stride + d + b * kLanes) * factor;
      }
    }
    for (int32_t i = 0; i < weighed.num_keys; ++i) {
      if (d == 0) head.tile.fetcher->fetch(1);
      const T* row = head.v + weighed.v_offset[i] + d;
      F32 value[kVectors];
      for (int b = 0; b < kVectors; ++b) value[b] = load_elements(row + b * kLanes, count);
      for (int r = 0; r < kRows; ++r) {
        const F32 weight(weighed.weights[r][i]);
        for (int b = 0; b < kVectors; ++b) sum[r][b] = fma(weight, value[b], sum[r][b]);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int b = 0; b < kVectors; ++b) {
        sum[r][b].store(result.out + r * result.out_stride + d + b * kLanes);
      }
    }
  }
};

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_FEW_ROWS_F32_H_
