// Compiled, never run: the headers that host and device share are valid device code, and every
// function that kernels and a device planner will call can be called from one.
#include "core/arith.h"
#include "core/attention_params.h"
#include "core/dtype.h"
#include "core/paged_kv.h"
#include "plan/planner.h"
#include "semantics/mask.h"
#include "semantics/quant.h"
#include "semantics/rope.h"
#include "semantics/score.h"
#include "semantics/softmax.h"

namespace pagoda {
namespace {

// One query row of one head against all its keys, as plainly as the shared headers allow.
__global__ void attend_row(AttentionParams params, int32_t seq, int32_t q_idx, int32_t q_head) {
  const SequenceShape shape = sequence_shape(params, seq);
  const MaskRule rule = mask_rule(params.mask, seq, shape.first_token, shape.q_len, shape.k_len);
  const int32_t q_pos = rule.context_len() + q_idx;
  const int32_t kv_head = q_head / params.group;
  const int32_t* pages = page_ids(params.kv.block_table, seq);
  const int64_t q_row =
      (shape.first_token + q_idx) * params.q.token_stride + q_head * params.q.head_stride;
  const float scale = logit_scale(params, seq, kv_head);

  SoftmaxState state;
  const KvRange visible = any_visible(rule, q_pos, q_pos);
  const KvRange unmasked = all_visible(rule, q_pos, q_pos);
  for (int32_t t = visible.begin; t < visible.end; ++t) {
    if (!unmasked.contains({t, t + 1}) && !is_visible(rule, q_pos, t)) continue;
    const TokenSlot slot = token_slot(pages, params.kv.page_size, t);
    const int64_t k_row = row_offset(params.kv.k, slot, kv_head);
    float dot = 0.0f;
    for (int32_t d = 0; d < params.head_dim; ++d) {
      dot += load_element(params.q.data, params.q.dtype, q_row + d) *
             load_element(params.kv.k.data, params.kv.dtype, k_row + d);
    }
    if (params.kv.k_token_scale.data != nullptr) {
      dot *= *scale_address(params.kv.k_token_scale, slot, kv_head);
    }
    const ScorePlace<float> place{
        Alibi::slope(params.score, q_head), static_cast<float>(t - q_pos),
        Bias::active(params.score) ? Bias::value(params.score, seq, q_idx, t - rule.context_len())
                                   : 0.0f};
    state = join(state, {logit(params.score, dot, scale, place) * kLog2e, 1.0f}).joined;
  }
  const float sink = params.score.sinks == nullptr
                         ? -kInfinity
                         : load_element(params.score.sinks, params.score.sinks_dtype,
                                        q_head * params.score.sinks_stride);
  const SoftmaxResult result = finalize(state, sink);
  store_element(params.out.data, params.out.dtype, q_row,
                result.output_factor * output_scale(params, seq, kv_head));
  params.lse[shape.first_token + q_idx] = result.lse;
}

__global__ void plan_batch(PlanConfig config, AttentionParams params, PlanLists* lists) {
  build_plan(config, params, lists);
}

}  // namespace

void launch_checks(const PlanConfig& config, const AttentionParams& params, PlanLists* lists) {
  plan_batch<<<1, 1>>>(config, params, lists);
  attend_row<<<1, 1>>>(params, 0, 0, 0);
}

}  // namespace pagoda
