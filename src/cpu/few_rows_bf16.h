// The few-rows kernels' arithmetic by products of bf16 pairs: for a q, K and V whose values bf16
// holds exactly. Weights are split into two bf16 each, since rounding them to one shows in the
// result of a single row; decode is bound by memory all the same.
#ifndef PAGODA_CPU_FEW_ROWS_BF16_H_
#define PAGODA_CPU_FEW_ROWS_BF16_H_

#include "cpu/bf16_pairs.h"
#include "cpu/few_rows_tile.h"

#if PAGODA_HAS_BF16_DOT
namespace pagoda::cpu {
namespace {

// A tile is as many bytes for every type: with half as many keys a row of 8 bits would spend more
// on what is done once a tile, with twice as many a row of 16 bits would not stay in L1.
template <class T, int kKeysOfTile = 32 / sizeof(T)>
struct Bf16Arithmetic {
  using Query = BFloat16;
  static constexpr int kRowsPerPass = 8;
  static constexpr int kTileKeys = kKeysOfTile;
  static constexpr int kTileVectors = kTileKeys / kLanes;

  // As F32Arithmetic's; pairs lie along head_dim.
  template <int kRows>
  PAGODA_HD static void dot_tile(const HeadTile<T, kTileKeys>& head, const BFloat16* q,
                                 int32_t q_stride, int32_t head_dim,
                                 F32 (&dots)[kRows][kTileVectors]) {
    F32 parts[kRows][kTileVectors][kBlocks];
    for (int i = 0; i < kTileVectors * kBlocks; ++i) {
      head.tile.fetcher->fetch(1);
      const T* keys[kKeys];
      for (int j = 0; j < kKeys; ++j) {
        keys[j] = head.k + head.tile.keys.k_offset[i * kKeys + j];
      }
      // As many rows as have registers for their sums.
      constexpr int kFirst = kRows <= 6 ? kRows : 4;
      F32 sums[kRows];
      dot_keys<kFirst>(keys, q, q_stride, head_dim, sums);
      if constexpr (kFirst < kRows) {
        dot_keys<kRows - kFirst>(keys, q + kFirst * q_stride, q_stride, head_dim, sums + kFirst);
      }
      for (int r = 0; r < kRows; ++r) parts[r][i / kBlocks][i % kBlocks] = sums[r];
    }
    for (int r = 0; r < kRows; ++r) {
      for (int g = 0; g < kTileVectors; ++g) dots[r][g] = add_blocks(parts[r][g]);
    }
  }

  // As F32Arithmetic's; pairs are those of two keys.
  template <int kRows>
  PAGODA_HD static void weigh_tile(const HeadTile<T, kTileKeys>& head,
                                   const Weighed<kRows, kTileKeys>& weighed, int32_t head_dim,
                                   RowStates result) {
    constexpr int kVectors = kRows <= 6 ? 2 : 1;  // of head_dim: sums that the registers hold
    WeightPairs<kRows> pairs;
    pack(weighed, &pairs);
    // What dot_tile() left, spread over all of this.
    const int32_t num_blocks = ceil_div(head_dim, kVectors * kBf16Lanes);
    pairs.fetched_keys = ceil_div(kTileKeys * 3 / 4, kTileKeys / 2 * num_blocks);
    int32_t d = 0;
    for (; d + kVectors * kBf16Lanes <= head_dim; d += kVectors * kBf16Lanes) {
      weigh_block<kRows, kVectors>(head, weighed, pairs, d, kBf16Lanes, result);
    }
    for (; d + kBf16Lanes <= head_dim; d += kBf16Lanes) {
      weigh_block<kRows, 1>(head, weighed, pairs, d, kBf16Lanes, result);
    }
    if (d < head_dim) weigh_block<kRows, 1>(head, weighed, pairs, d, head_dim - d, result);
  }

 private:
  template <int kRows>
  struct WeightPairs {
    int32_t num_pairs;
    int32_t fetched_keys;  // of a later tile, with each pair
    int64_t v_offset[kTileKeys];
    alignas(64) BFloat16 high[kRows][kTileKeys];  // high + low: the weights
    alignas(64) BFloat16 low[kRows][kTileKeys];
  };

  static constexpr int kKeys = kBlockLanes;  // whose sums the registers hold

  // sums[r]: products of q_r and some keys, added up as far as add_blocks() wants.
  template <int kRows>
  PAGODA_HD static void dot_keys(const T* const (&keys)[kKeys], const BFloat16* q, int32_t q_stride,
                                 int32_t head_dim, F32* sums) {
    F32 sum[kRows][kKeys];
    for (int r = 0; r < kRows; ++r) {
      for (int j = 0; j < kKeys; ++j) sum[r][j] = F32(0.0f);
    }
    const auto add = [&](int32_t d, const Bf16Pairs(&key)[kKeys]) {
      for (int r = 0; r < kRows; ++r) {
        const Bf16Pairs query = Bf16Pairs::load(q + r * q_stride + d);
        for (int j = 0; j < kKeys; ++j) sum[r][j] = dot(query, key[j], sum[r][j]);
      }
    };
    const auto add_two = [&](int32_t d) {
      Bf16Pairs key[2][kKeys];
      for (int j = 0; j < kKeys; ++j) load_two(keys[j] + d, &key[0][j], &key[1][j]);
      add(d, key[0]);
      add(d + kBf16Lanes, key[1]);
    };
    int32_t d = 0;
    if constexpr (sizeof(T) == 1) {
      // Unrolled, bytes gain 5 %; bf16 from memory loses 20 %.
      for (; d + 4 * kBf16Lanes <= head_dim; d += 4 * kBf16Lanes) {
        add_two(d);
        add_two(d + 2 * kBf16Lanes);
      }
    }
    for (; d + 2 * kBf16Lanes <= head_dim; d += 2 * kBf16Lanes) add_two(d);
    for (; d < head_dim; d += kBf16Lanes) {
      Bf16Pairs key[kKeys];
      for (int j = 0; j < kKeys; ++j) {
        key[j] = load_bf16(keys[j] + d, min_of(kBf16Lanes, head_dim - d));
      }
      add(d, key);
    }
    for (int r = 0; r < kRows; ++r) sums[r] = fold_lanes(sum[r], Add());
  }

  // Both parts of a weight above 0 are above 0 too, so that infinite values stay what they are.
  PAGODA_HD static void split(F32 weight, BFloat16* high, BFloat16* low) {
    const F32 truncated = bits_as_float(I32(RawI32(float_as_bits(weight).raw & ~0xffff)));
    const F32 least = select(truncated == F32(0.0f), F32(0.0f), F32(0x1p-126f));
    store_bf16(high, truncated);
    store_bf16(low, max_lanes(weight - truncated, least));
  }

  // An odd key is paired with itself, at a weight of 0.
  template <int kRows>
  PAGODA_HD static void pack(const Weighed<kRows, kTileKeys>& weighed, WeightPairs<kRows>* pairs) {
    const int32_t num_keys = weighed.num_keys;
    pairs->num_pairs = ceil_div(num_keys, 2);
    __builtin_memcpy(pairs->v_offset, weighed.v_offset, sizeof(pairs->v_offset));
    for (int r = 0; r < kRows; ++r) {
      for (int i = 0; i < kTileKeys; i += kLanes) {
        split(F32::load(weighed.weights[r] + i), pairs->high[r] + i, pairs->low[r] + i);
      }
    }
    if (num_keys % 2 == 0) return;
    pairs->v_offset[num_keys] = pairs->v_offset[num_keys - 1];
    for (int r = 0; r < kRows; ++r) pairs->high[r][num_keys] = pairs->low[r][num_keys] = {0};
  }

  // weigh_tile() for kVectors * kBf16Lanes of head_dim from d on, or `count`.
  template <int kRows, int kVectors>
  PAGODA_HD static void weigh_block(const HeadTile<T, kTileKeys>& head,
                                    const Weighed<kRows, kTileKeys>& weighed,
                                    const WeightPairs<kRows>& pairs, int32_t d, int count,
                                    RowStates result) {
    constexpr int kSums = 2 * kVectors;
    F32 sum[kRows][kSums];
    for (int r = 0; r < kRows; ++r) {
      const F32 factor(weighed.factors[r]);
      const float* out = result.out + r * result.out_stride + d;
      for (int b = 0; b < kSums; ++b) sum[r][b] = F32::load(out + b * kLanes) * factor;
    }
    for (int32_t p = 0; p < pairs.num_pairs; ++p) {
      head.tile.fetcher->fetch(pairs.fetched_keys);
      const T* even = head.v + pairs.v_offset[2 * p] + d;
      const T* odd = head.v + pairs.v_offset[2 * p + 1] + d;
      Bf16Pairs value[kSums];
      for (int b = 0; b < kVectors; ++b) {
        load_interleaved(even + b * kBf16Lanes, odd + b * kBf16Lanes, count, &value[2 * b],
                         &value[2 * b + 1]);
      }
      for (int r = 0; r < kRows; ++r) {
        const Bf16Pairs high = Bf16Pairs::broadcast(&pairs.high[r][2 * p]);
        const Bf16Pairs low = Bf16Pairs::broadcast(&pairs.low[r][2 * p]);
        for (int b = 0; b < kSums; ++b) sum[r][b] = dot(high, value[b], sum[r][b]);
        for (int b = 0; b < kSums; ++b) sum[r][b] = dot(low, value[b], sum[r][b]);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      float* out = result.out + r * result.out_stride + d;
      for (int b = 0; b < kSums; ++b) sum[r][b].store(out + b * kLanes);
    }
  }
};

}  // namespace
}  // namespace pagoda::cpu
#endif  // PAGODA_HAS_BF16_DOT

#endif  // PAGODA_CPU_FEW_ROWS_BF16_H_
