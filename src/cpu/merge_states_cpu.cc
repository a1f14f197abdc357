#include <algorithm>

#include "cpu/backend_cpu.h"
#include "cpu/convert_run.h"
#include "cpu/parallel_ranges.h"
#include "semantics/merge.h"

namespace pagoda::cpu {
namespace {

struct MergeCall {
  const AttentionState* states;
  int32_t num_states;
  const AttentionState& merged;
  LseLayout lse_layout;
};

// A query token and head.
struct MergeRow {
  int64_t token;
  int64_t head;
};

float* lse_address(const MergeCall& call, const AttentionState& state, MergeRow row) {
  const TensorView& lse = state.lse;
  const bool heads_first = call.lse_layout == LseLayout::kHeadsTokens;
  const int64_t token_stride = lse.stride[heads_first ? 1 : 0];
  const int64_t head_stride = lse.stride[heads_first ? 0 : 1];
  return static_cast<float*>(lse.data) + row.token * token_stride + row.head * head_stride;
}

Elements out_row(const TensorView& out, MergeRow row) {
  const Elements all{out.data, out.dtype};
  return all.at(row.token * out.stride[0] + row.head * out.stride[1]);
}

// The merged state may lie over one of the others: a run is read from all of them before it is
// written, and the lse is written last.
void merge_row(const MergeCall& call, MergeRow row) {
  const auto lse_of = [&](int32_t i) { return *lse_address(call, call.states[i], row); };
  float largest = -kInfinity;
  for (int32_t i = 0; i < call.num_states; ++i) largest = std::max(largest, usable_lse(lse_of(i)));
  float sum = 0.0f;
  for (int32_t i = 0; i < call.num_states; ++i) sum += merge_weight(lse_of(i), largest);

  const auto head_dim = static_cast<int32_t>(call.merged.out.shape[2]);
  for (int32_t first = 0; first < head_dim; first += kRunElements) {
    const int32_t count = std::min(kRunElements, head_dim - first);
    float total[kRunElements] = {};
    float values[kRunElements];
    for (int32_t i = 0; i < call.num_states; ++i) {
      const float weight = merge_weight(lse_of(i), largest);
      if (weight == 0.0f) continue;
      const float share = weight / sum;
      widen(out_row(call.states[i].out, row).at(first), count, values);
      for (int32_t d = 0; d < count; ++d) total[d] += share * values[d];
    }
    narrow(total, count, out_row(call.merged.out, row).at(first));
  }
  if (call.merged.lse.present()) {
    *lse_address(call, call.merged, row) = merged_lse(largest, sum);
  }
}

}  // namespace

Status merge_states(const AttentionState* states, int32_t num_states, const AttentionState& merged,
                    LseLayout lse_layout, const Execution& execution) {
  const MergeCall call{states, num_states, merged, lse_layout};
  const TensorView& out = merged.out;
  const int64_t num_heads = out.shape[1];
  const int64_t traffic =
      (num_states + 1) * out.shape[2] * static_cast<int64_t>(size_of(out.dtype));
  parallel_ranges(execution, out.shape[0] * num_heads, traffic, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) merge_row(call, {i / num_heads, i % num_heads});
  });
  return {};
}

}  // namespace pagoda::cpu
