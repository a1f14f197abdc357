// One row of f32 channels spread over a warp, and what becomes of it.
#ifndef PAGODA_CUDA_KERNELS_WARP_ROW_CUH_
#define PAGODA_CUDA_KERNELS_WARP_ROW_CUH_

#include "core/arith.h"
#include "core/dtype.h"
#include "cuda/sm90/convert.cuh"
#include "cuda/sm90/ldst.cuh"
#include "plan/item_rows.h"
#include "semantics/quant.h"
#include "semantics/softmax.h"

namespace pagoda::cuda {

// Unnormalised. Lane l has kVector channels from l * kVector on of each 32 * kVector.
template <int kHeadDim>
struct WarpRow {
  static constexpr int kVector = min_of(4, kHeadDim / 32);
  static constexpr int kVectors = kHeadDim / 32 / kVector;
  struct alignas(sizeof(float) * kVector) Vector {
    float x[kVector];
  };

  Vector at[kVectors] = {};

  PAGODA_DEVICE static int column(int vector) {
    return (vector * 32 + static_cast<int>(threadIdx.x % 32)) * kVector;
  }

  // *this <- *this * factor + other * other_factor
  PAGODA_DEVICE void scale_and_add(float factor, const WarpRow& other, float other_factor) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        at[v].x[i] = at[v].x[i] * factor + other.at[v].x[i] * other_factor;
      }
    }
  }

  // From memory that other CTAs wrote.
  PAGODA_DEVICE void load_global(const float* row) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if constexpr (kVector == 4) {
        const float4 x = sm90::load_l2_16(row + column(v));
        at[v] = {x.x, x.y, x.z, x.w};
      } else {
        const float2 x = sm90::load_l2_8(row + column(v));
        at[v] = {x.x, x.y};
      }
    }
  }

  PAGODA_DEVICE void load_shared(const float* row) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) at[v] = *reinterpret_cast<const Vector*>(row + column(v));
  }

  // To global or shared memory.
  PAGODA_DEVICE void store(float* row) const {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) *reinterpret_cast<Vector*>(row + column(v)) = at[v];
  }

  // Times `factor` to row `row` of the output, whichever type that has.
  PAGODA_DEVICE void store_output(const AttentionParams& params, const ItemRows& rows,
                                  int32_t kv_head, int row, float factor) const {
    const int64_t offset =
        row_offset(params.out, rows.first_token + rows.q_idx(row), rows.q_head(kv_head, row));
    if (params.out.dtype == DType::kFloat8E4M3) {
      store_e4m3(static_cast<uint8_t*>(params.out.data) + offset, params.head_dim, factor);
    } else {
      store_16_bit(static_cast<uint16_t*>(params.out.data) + offset, params, factor);
    }
  }

 private:
  PAGODA_DEVICE void store_e4m3(uint8_t* out, int32_t head_dim, float factor) const {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (column(v) >= head_dim) continue;
#pragma unroll
      for (int i = 0; i < kVector; i += 2) {
        *reinterpret_cast<uint16_t*>(out + column(v) + i) =
            sm90::pack_e4m3x2(at[v].x[i] * factor, at[v].x[i + 1] * factor);
      }
    }
  }

  PAGODA_DEVICE void store_16_bit(uint16_t* out, const AttentionParams& params,
                                  float factor) const {
    const bool to_bf16 = params.out.dtype == DType::kBFloat16;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (column(v) >= params.head_dim) continue;
      uint32_t packed[kVector / 2];
#pragma unroll
      for (int i = 0; i < kVector / 2; ++i) {
        const float low = at[v].x[2 * i] * factor;
        const float high = at[v].x[2 * i + 1] * factor;
        packed[i] =
            to_bf16 ? sm90::pack_pair<BFloat16>(low, high) : sm90::pack_pair<Float16>(low, high);
      }
      if constexpr (kVector == 4) {
        *reinterpret_cast<uint2*>(out + column(v)) = make_uint2(packed[0], packed[1]);
      } else {
        *reinterpret_cast<uint32_t*>(out + column(v)) = packed[0];
      }
    }
  }
};

// What a row's channels are multiplied by to become output. Writes its lse too: for one lane per
// row.
PAGODA_DEVICE float finish_row(const AttentionParams& params, const ItemRows& rows, int32_t kv_head,
                               int row, SoftmaxState state, bool writes_lse) {
  const int32_t q_head = rows.q_head(kv_head, row);
  const SoftmaxResult result = finalize(state, Sink::value(params.score, q_head));
  if (params.lse != nullptr && writes_lse) {
    const int32_t token = rows.first_token + rows.q_idx(row);
    params.lse[token * params.lse_token_stride + q_head * params.lse_head_stride] = result.lse;
  }
  // A row that sees nothing is 0 whatever the scales are.
  return result.output_factor == 0.0f
             ? 0.0f
             : result.output_factor * output_scale(params, rows.seq, kv_head);
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_WARP_ROW_CUH_
