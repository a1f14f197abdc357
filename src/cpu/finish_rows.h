// From unnormalised rows to results: joins partial rows, divides, applies scales and sinks, rounds
// and writes out and lse.
#ifndef PAGODA_CPU_FINISH_ROWS_H_
#define PAGODA_CPU_FINISH_ROWS_H_

#include "cpu/kernels.h"
#include "cpu/simd.h"
#include "plan/item_rows.h"
#include "semantics/quant.h"

namespace pagoda::cpu {
namespace {

void join_rows(RowStates a, RowStates b, int32_t num_rows, int32_t head_dim) {
  for (int32_t row = 0; row < num_rows; ++row) {
    const SoftmaxJoin joined = join(a.state[row], b.state[row]);
    a.state[row] = joined.joined;
    float* out = a.out + row * a.out_stride;
    const float* other = b.out + row * b.out_stride;
    for (int32_t d = 0; d < head_dim; ++d) {
      out[d] = out[d] * joined.a_factor + other[d] * joined.b_factor;
    }
  }
}

PAGODA_HD void store_value(float* p, float x) {
  *p = x;
}
PAGODA_HD void store_value(BFloat16* p, float x) {
  *p = to_bfloat16(x);
}
PAGODA_HD void store_value(Float16* p, float x) {
  *p = to_float16(x);
}
PAGODA_HD void store_value(Float8E4M3* p, float x) {
  *p = to_float8_e4m3(x);
}

template <class T>
PAGODA_HD void store_row(void* destination, int64_t offset, const float* row, float factor,
                         int32_t head_dim) {
  T* out = static_cast<T*>(destination) + offset;
  for (int32_t d = 0; d < head_dim; ++d) store_value(out + d, row[d] * factor);
}

PAGODA_HD void store_out_row(const RowsParams& out, int64_t offset, const float* row, float factor,
                             int32_t head_dim) {
  switch (out.dtype) {
    case DType::kFloat32:
      return store_row<float>(out.data, offset, row, factor, head_dim);
    case DType::kFloat16:
      return store_row<Float16>(out.data, offset, row, factor, head_dim);
    case DType::kBFloat16:
      return store_row<BFloat16>(out.data, offset, row, factor, head_dim);
    default:
      return store_row<Float8E4M3>(out.data, offset, row, factor, head_dim);
  }
}

void finish_rows(const AttentionParams& params, const WorkItem& item, RowStates states) {
  const ItemRows rows(params, item);
  for (int32_t h = 0; h < item.num_kv_heads; ++h) {
    const int32_t kv_head = item.kv_head + h;
    const float scale = output_scale(params, item.seq, kv_head);
    for (int32_t r = 0; r < item.num_rows; ++r) {
      const int32_t i = h * item.num_rows + r;
      const int32_t q_head = rows.q_head(kv_head, r);
      const int32_t token = rows.first_token + rows.q_idx(r);
      const SoftmaxResult result = finalize(states.state[i], Sink::value(params.score, q_head));
      float* row = states.out + i * states.out_stride;
      // A row that sees nothing is 0 whatever the scales are.
      const float factor = result.output_factor == 0.0f ? 0.0f : result.output_factor * scale;
      store_out_row(params.out, row_offset(params.out, token, q_head), row, factor,
                    params.head_dim);
      if (params.lse != nullptr) {
        params.lse[token * params.lse_token_stride + q_head * params.lse_head_stride] = result.lse;
      }
    }
  }
}

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_FINISH_ROWS_H_
