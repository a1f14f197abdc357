// The many-rows kernel's arithmetic by AMX: products of bf16 pairs as in many_rows_bf16.h, whose
// packing of q, K and weights it shares, in blocks of 32 keys or channels by the rows of a band.
#ifndef PAGODA_CPU_MANY_ROWS_AMX_H_
#define PAGODA_CPU_MANY_ROWS_AMX_H_

#include "cpu/amx_tiles.h"
#include "cpu/bf16_pairs.h"
#include "cpu/kernels.h"
#include "cpu/many_rows_band.h"
#include "cpu/many_rows_bf16.h"

#if PAGODA_HAS_AMX
namespace pagoda::cpu {
namespace {

struct ManyRowsAmx : ManyRowsBf16 {
  static constexpr int32_t kKeyStep = 2 * kTileRows;

  // v: [row_stride][kStripKeys], the keys of a channel side by side; scales as ManyRowsBf16's.
  template <class T>
  PAGODA_HD static void load_values(const T* const (&rows)[kStripKeys], const float* scales,
                                    int32_t head_dim, BFloat16* v) {
    for (int32_t d = 0; d < head_dim; d += kBf16Lanes) {
      for (int32_t key = 0; key < kStripKeys; key += 2 * kLanes) {
        F32 pairs[2][kLanes];  // [half of the channels][pair of keys], a channel a lane
        for (int32_t i = 0; i < kLanes; ++i) {
          const Bf16Pairs even = load_value(rows, scales, head_dim, key + 2 * i, d);
          const Bf16Pairs odd = load_value(rows, scales, head_dim, key + 2 * i + 1, d);
          for (int32_t half = 0; half < 2; ++half) {
            pairs[half][i] = F32(bit_cast<RawF32>(interleave(even, odd, half * kLanes).raw));
          }
        }
        for (int32_t half = 0; half < 2; ++half) {
          transpose(pairs[half]);
          for (int32_t c = 0; c < kLanes; ++c) {
            Bf16Pairs{bit_cast<RawI32>(pairs[half][c].raw)}.store(
                v + (d + half * kLanes + c) * kStripKeys + key);
          }
        }
      }
    }
  }
};

// Two tiles of keys or channels by the two that a band is wide: their sums in tiles 0 to 3.
struct TileBlock {
  static_assert(kBandRows == 2 * kTileRows);
  static constexpr int64_t kSumBytes = kBandRows * sizeof(float);
  static constexpr int32_t kBelow = kTileRows * kBandRows;  // floats from one tile to that under it

  PAGODA_HD static void zero() {
    tile_zero<0>();
    tile_zero<1>();
    tile_zero<2>();
    tile_zero<3>();
  }
  PAGODA_HD static void load(const float* sums) {
    tile_load<0>(sums, kSumBytes);
    tile_load<1>(sums + kTileRows, kSumBytes);
    tile_load<2>(sums + kBelow, kSumBytes);
    tile_load<3>(sums + kBelow + kTileRows, kSumBytes);
  }
  PAGODA_HD static void store(float* sums) {
    tile_store<0>(sums, kSumBytes);
    tile_store<1>(sums + kTileRows, kSumBytes);
    tile_store<2>(sums + kBelow, kSumBytes);
    tile_store<3>(sums + kBelow + kTileRows, kSumBytes);
  }

  // Adds kBf16Lanes products each. left: rows of elements, `stride` apart; right: pairs of them,
  // [kLanes][kBandRows].
  PAGODA_HD static void multiply(const BFloat16* left, int32_t stride, const BFloat16* right) {
    const int64_t left_bytes = stride * int64_t{sizeof(BFloat16)};
    tile_load<4>(left, left_bytes);
    tile_load<5>(left + kTileRows * stride, left_bytes);
    tile_load<6>(right, kSumBytes);
    tile_load<7>(right + kBf16Lanes, kSumBytes);
    tile_dot_bf16<0, 4, 6>();
    tile_dot_bf16<1, 4, 7>();
    tile_dot_bf16<2, 5, 6>();
    tile_dot_bf16<3, 5, 7>();
  }
};

// As many_rows_band.h's. An instruction sums a run of kBf16Lanes channels before it adds them.
template <>
PAGODA_HD void multiply_keys<ManyRowsAmx>(const BFloat16* q, const BFloat16* k, int32_t head_dim,
                                          float (*scores)[kBandRows]) {
  const int32_t stride = ManyRowsAmx::row_stride(head_dim);
  TileBlock::zero();
  for (int32_t d = 0; d < head_dim; d += kBf16Lanes) {
    TileBlock::multiply(k + d, stride, q + d * kBandRows);
  }
  TileBlock::store(scores[0]);
}

template <>
void weigh_values<ManyRowsAmx>(const BFloat16* weights, const BFloat16* v, int32_t num_keys,
                               int32_t head_dim, const float* factor, float* out) {
  constexpr int32_t kChannels = 2 * kTileRows;
  for (int32_t d = 0; d < head_dim; d += kChannels, out += kChannels * kBandRows) {
    for (int32_t c = 0; factor != nullptr && c < kChannels; c += kUnroll) {
      OutBlock(out + c * kBandRows, factor).store(out + c * kBandRows);
    }
    TileBlock::load(out);
    for (int32_t i = 0; i < num_keys; i += kBf16Lanes) {
      TileBlock::multiply(v + d * kStripKeys + i, kStripKeys, weights + i * kBandRows);
    }
    TileBlock::store(out);
  }
}

}  // namespace
}  // namespace pagoda::cpu
#endif  // PAGODA_HAS_AMX

#endif  // PAGODA_CPU_MANY_ROWS_AMX_H_
