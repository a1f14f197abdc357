// A planned step on the CPU: where in the workspace everything lies.
#ifndef PAGODA_CPU_PLAN_CPU_H_
#define PAGODA_CPU_PLAN_CPU_H_

#include <atomic>
#include <cstddef>

#include "core/attention_params.h"
#include "cpu/kernels.h"
#include "pagoda/attention.h"
#include "plan/plan_shape.h"
#include "plan/planner.h"
#include "plan/work_item.h"

namespace pagoda::cpu {

// Lives in Plan::storage; the arrays live in the workspace.
struct CpuPlan {
  uint64_t magic;
  PlanShape shape;
  const WorkItem* items;
  const MergeGroup* groups;
  std::atomic<int32_t>* in_use;    // 1 while a call computes
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

PlanConfig plan_config(SplitPolicy policy, int32_t fixed_split_keys, int32_t few_rows_heads);

// Null and why in `status`, if `plan` is not one of the CPU backend's or was made for another
// problem.
const CpuPlan* read_plan(const AttentionParams& params, const Plan& plan, Status* status);

}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_PLAN_CPU_H_
