// What a batch needs at least, however it is planned: bytes of K and V, and multiply-adds.
#ifndef PAGODA_PLAN_NEEDED_WORK_H_
#define PAGODA_PLAN_NEEDED_WORK_H_

#include "core/dtype.h"
#include "plan/sequence_shape.h"
#include "semantics/mask.h"

namespace pagoda {

// As Explanation defines them.
struct NeededWork {
  int64_t kv_bytes = 0;
  int64_t flops = 0;

  PAGODA_HD NeededWork& operator+=(const NeededWork& other) {
    kv_bytes += other.kv_bytes;
    flops += other.flops;
    return *this;
  }
};

PAGODA_HD int32_t num_visible(const MaskRule& rule, int32_t q_pos) {
  const KvRange kv = any_visible(rule, q_pos, q_pos);
  if (is_interval(rule)) return kv.size();
  int32_t count = 0;
  for (int32_t key = kv.begin; key < kv.end; ++key) count += is_visible(rule, q_pos, key);
  return count;
}

// Of one sequence.
PAGODA_HD NeededWork needed_work(const AttentionParams& params, const SequenceShape& shape) {
  NeededWork work;
  if (shape.q_len == 0) return work;
  const MaskRule rule =
      mask_rule(params.mask, shape.seq, shape.first_token, shape.q_len, shape.k_len);
  const int32_t q_first = rule.context_len();
  const int32_t q_last = q_first + shape.q_len - 1;
  const KvRange any = any_visible(rule, q_first, q_last);
  const KvRange gap = hidden_gap(rule, q_first);
  const KvRange unseen{max_of(any.begin, gap.begin), min_of(any.end, gap.end)};
  const int64_t row_bytes =
      int64_t{params.head_dim} * static_cast<int64_t>(size_of(params.kv.dtype));
  work.kv_bytes = int64_t{2} * (any.size() - unseen.size()) * params.num_kv_heads * row_bytes;
  for (int32_t q_pos = q_first; q_pos <= q_last; ++q_pos) {
    work.flops += int64_t{4} * params.head_dim * params.num_q_heads * num_visible(rule, q_pos);
  }
  return work;
}

// Of the batch.
PAGODA_HD NeededWork needed_work(const AttentionParams& params) {
  NeededWork work;
  for (int32_t seq = 0; seq < params.num_seqs; ++seq) {
    work += needed_work(params, sequence_shape(params, seq));
  }
  return work;
}

}  // namespace pagoda

#endif  // PAGODA_PLAN_NEEDED_WORK_H_
