// A planned step on the CPU: where in the workspace everything lies.
#ifndef PAGODA_CPU_PLAN_CPU_H_
#define PAGODA_CPU_PLAN_CPU_H_

#include <atomic>
#include <cstddef>

#include "core/attention_params.h"
#include "cpu/kernels.h"
#include "pagoda/attention.h"
#include "plan/planner.h"
#include "plan/work_item.h"

namespace pagoda::cpu {

// What the plan was made for; attention() takes only problems that agree.
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
  bool causal;
  SplitPolicy split_policy;
  int32_t fixed_split_keys;

  friend bool operator==(const PlanShape&, const PlanShape&) = default;
};

// Lives in Plan::storage; the arrays live in the workspace.
struct CpuPlan {
  uint64_t magic;
  PlanShape shape;
  const WorkItem* items;
  const MergeGroup* groups;
  std::atomic<int32_t>* arrivals;  // [num_groups], 0 between calls
  RowStates partials;
  std::byte* scratch;  // [num_workers][worker_bytes]
  size_t worker_bytes;
  int32_t max_item_rows;
  int32_t num_items;
  int32_t num_groups;
  int32_t num_workers;
};
static_assert(sizeof(CpuPlan) <= sizeof(Plan));

PlanShape plan_shape(const AttentionParams& params);
PlanConfig plan_config(SplitPolicy policy, int32_t fixed_split_keys, int32_t few_rows_heads);

// Null and why in `status`, if `plan` is not one of the CPU backend's or was made for another
// problem.
const CpuPlan* read_plan(const AttentionParams& params, const Plan& plan, Status* status);

}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_PLAN_CPU_H_
