// The few-rows kernels' arithmetic for int8 V: weights in 16 bits of fixed point, relative to the
// row's largest of the tile, whose two bytes are multiplied apart with the bytes of V as they are.
// That is half the products of bf16 pairs, and V is not converted. Scores are those of bf16 pairs.
#ifndef PAGODA_CPU_FEW_ROWS_INT8_H_
#define PAGODA_CPU_FEW_ROWS_INT8_H_

#include "cpu/byte_quads.h"
#include "cpu/few_rows_bf16.h"

#if PAGODA_HAS_BF16_DOT && PAGODA_HAS_BYTE_DOT
namespace pagoda::cpu {
namespace {

struct Int8Arithmetic {
  static constexpr int kTileKeys = 16;  // whose V the registers hold
  using Bf16 = Bf16Arithmetic<int8_t, kTileKeys>;
  using Query = Bf16::Query;
  static constexpr int kRowsPerPass = Bf16::kRowsPerPass;
  static constexpr int kTileVectors = Bf16::kTileVectors;

  template <int kRows>
  PAGODA_HD static void dot_tile(const HeadTile<int8_t, kTileKeys>& head, const BFloat16* q,
                                 int32_t q_stride, int32_t head_dim,
                                 F32 (&dots)[kRows][kTileVectors]) {
    Bf16::dot_tile<kRows>(head, q, q_stride, head_dim, dots);
  }

  // As F32Arithmetic's.
  template <int kRows>
  PAGODA_HD static void weigh_tile(const HeadTile<int8_t, kTileKeys>& head,
                                   const Weighed<kRows, kTileKeys>& weighed, int32_t head_dim,
                                   RowStates result) {
    FixedWeights<kRows> weights;
    if (!pack(weighed, &weights)) {
      return Bf16::weigh_tile<kRows>(head, weighed, head_dim, result);
    }
    const int32_t num_steps = kTileQuads * ceil_div(head_dim, kVectorBytes);
    const int32_t fetched_keys = ceil_div(kTileKeys * 3 / 4, num_steps);  // what dot_tile() left
    for (int32_t d = 0; d < head_dim; d += kVectorBytes) {
      const int count = min_of(kVectorBytes, head_dim - d);
      ByteQuads values[kTileQuads][kQuadVectors];
      for (int i = 0; i < kTileQuads; ++i) {
        head.tile.fetcher->fetch(fetched_keys);
        load_quads(head.v + d, weighed.v_offset + i * kQuad, count, values[i]);
      }
      for (int r = 0; r < kRows; ++r) {
        add_weighed(values, weights.rows[r], F32(weighed.factors[r]), ceil_div(count, kLanes),
                    result.out + r * result.out_stride + d);
      }
    }
  }

 private:
  static constexpr int kTileQuads = kTileKeys / kQuad;

  struct FixedRow {
    float unit;
    uint8_t high[kTileKeys];  // unit * (256 high + low): the weights
    uint8_t low[kTileKeys];
  };
  template <int kRows>
  struct FixedWeights {
    FixedRow rows[kRows];
  };

  // False if some row's weights are not finite, or all 0 or nearly.
  template <int kRows>
  PAGODA_HD static bool pack(const Weighed<kRows, kTileKeys>& weighed, FixedWeights<kRows>* fixed) {
    constexpr float kSteps = 65535.0f;
    constexpr float kLeast = 0x1p-96f;  // whose reciprocal, times kSteps, is finite
    static_assert(kTileVectors == 1);
    bool fits = true;
    for (int r = 0; r < kRows; ++r) {
      const F32 weights = F32::load(weighed.weights[r]);
      const float largest = max_lane(weights);
      FixedRow& row = fixed->rows[r];
      row.unit = largest / kSteps;
      store_bytes(weights * F32(kSteps / largest), row.high, row.low);
      fits &= largest >= kLeast && largest < kInfinity && !any(is_nan(weights));
    }
    return fits;
  }

  // out <- out * factor + the weighed sum of values, `num_vectors` vectors.
  PAGODA_HD static void add_weighed(const ByteQuads (&values)[kTileQuads][kQuadVectors],
                                    const FixedRow& row, F32 factor, int num_vectors, float* out) {
    I32 high[kQuadVectors];
    I32 low[kQuadVectors];
    for (int j = 0; j < kQuadVectors; ++j) high[j] = low[j] = I32(0);
    for (int i = 0; i < kTileQuads; ++i) {
      const ByteQuads high_weights = ByteQuads::broadcast(row.high + i * kQuad);
      const ByteQuads low_weights = ByteQuads::broadcast(row.low + i * kQuad);
      for (int j = 0; j < kQuadVectors; ++j) {
        high[j] = dot(high_weights, values[i][j], high[j]);
        low[j] = dot(low_weights, values[i][j], low[j]);
      }
    }
    for (int j = 0; j < kQuadVectors; ++j) {
      if (j >= num_vectors) continue;
      const F32 sum(I32(RawI32((high[j].raw << 8) + low[j].raw)));
      fma(sum, F32(row.unit), F32::load(out + j * kLanes) * factor).store(out + j * kLanes);
    }
  }
};

}  // namespace
}  // namespace pagoda::cpu
#endif  // PAGODA_HAS_BF16_DOT && PAGODA_HAS_BYTE_DOT

#endif  // PAGODA_CPU_FEW_ROWS_INT8_H_
