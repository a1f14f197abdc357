// From unnormalised rows to results: joins partial rows, divides, applies scales and sinks, rounds
// and writes out and lse.
#ifndef PAGODA_CPU_FINISH_ROWS_H_
#define PAGODA_CPU_FINISH_ROWS_H_

#include "cpu/convert_run_impl.h"
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

// Rounds a row, which is used up, to where and as what `out` has it.
void store_out_row(const RowsParams& out, int64_t offset, float* row, float factor,
                   int32_t head_dim) {
  for (int32_t d = 0; d < head_dim; d += kLanes) {
    (F32::load(row + d) * F32(factor)).store(row + d);
  }
  narrow_run(row, head_dim, Elements{out.data, out.dtype}.at(offset));
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
