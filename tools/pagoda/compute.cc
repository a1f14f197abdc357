#include "compute.h"

#include "error.h"
#include "timing.h"

namespace pagoda::tools {

HostBuffer make_workspace(const AttentionLimits& limits) {
  size_t bytes = 0;
  require_ok(workspace_size(limits, &bytes));
  return HostBuffer(bytes);
}

Computed compute(const AttentionProblem& problem, const HostBuffer& workspace) {
  Computed result;
  Plan step;
  const Stopwatch plan_time;
  require_ok(plan(problem, workspace.workspace(), {}, &step));
  result.plan_seconds = plan_time.seconds();
  const Stopwatch attention_time;
  require_ok(attention(problem, step));
  result.attention_seconds = attention_time.seconds();
  require_ok(explain(problem, step, &result.explanation));
  return result;
}

}  // namespace pagoda::tools
