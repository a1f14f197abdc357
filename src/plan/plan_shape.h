// What a plan was made for: attention() takes only problems that agree.
#ifndef PAGODA_PLAN_PLAN_SHAPE_H_
#define PAGODA_PLAN_PLAN_SHAPE_H_

#include "core/attention_params.h"

namespace pagoda {

struct PlanShape {
  const int32_t* cu_seqlens_q;
  const int32_t* seqused_k;
  int32_t num_tokens;
  int32_t num_seqs;
  int32_t num_q_heads;
  int32_t num_kv_heads;
  int32_t head_dim;
  int32_t window_left;
  int32_t window_right;
  int32_t chunk_size;
  int32_t chunk_lookback;
  int32_t prefix_window_left;  // -1 without prefix_lens
  int32_t max_ranges;
  bool causal;
  bool clamp_ranges_to_window_left;
  // Layers may have these in other places, but all or none of them.
  bool has_causal_per_seq;
  bool has_ranges;
  bool has_tree;
  SplitPolicy split_policy;
  int32_t fixed_split_keys;

  friend bool operator==(const PlanShape&, const PlanShape&) = default;
};

inline PlanShape plan_shape(const AttentionParams& params) {
  return {.cu_seqlens_q = params.cu_seqlens_q,
          .seqused_k = params.seqused_k,
          .num_tokens = params.num_tokens,
          .num_seqs = params.num_seqs,
          .num_q_heads = params.num_q_heads,
          .num_kv_heads = params.num_kv_heads,
          .head_dim = params.head_dim,
          .window_left = params.mask.window_left,
          .window_right = params.mask.window_right,
          .chunk_size = params.mask.chunk_size,
          .chunk_lookback = params.mask.chunk_lookback,
          .prefix_window_left = params.mask.prefix_window_left,
          .max_ranges = params.mask.max_ranges,
          .causal = params.mask.causal,
          .clamp_ranges_to_window_left = params.mask.clamp_ranges_to_window_left,
          .has_causal_per_seq = params.mask.causal_per_seq != nullptr,
          .has_ranges = params.mask.bidirectional_ranges != nullptr,
          .has_tree = params.mask.tree_words != nullptr,
          .split_policy = params.split_policy,
          .fixed_split_keys = params.fixed_split_keys};
}

}  // namespace pagoda

#endif  // PAGODA_PLAN_PLAN_SHAPE_H_
