// Validates, chooses the backend by device, calls it. Nothing else.
#include "pagoda/attention.h"

#include <algorithm>

#include "core/attention_params.h"
#include "core/checks.h"
#include "core/validate.h"
#include "cpu/backend_cpu.h"
#include "cuda/backend_cuda.h"

namespace pagoda {
namespace {

bool on_cuda(Device device) {
  return device.type == DeviceType::kCuda;
}

Status check_workspace(const Workspace& workspace, Device device) {
  const uintptr_t align = on_cuda(device) ? 256 : 64;
  if (workspace.data == nullptr && workspace.bytes > 0) {
    return invalid_argument("workspace: got null data with ", workspace.bytes,
                            " bytes, wants memory of workspace_size() bytes");
  }
  if (reinterpret_cast<uintptr_t>(workspace.data) % align != 0) {
    return invalid_argument("workspace: got data ", workspace.data, ", ",
                            reinterpret_cast<uintptr_t>(workspace.data) % align,
                            " bytes past a multiple of ", align, ", wants data aligned to ", align,
                            " bytes; allocate it with std::aligned_alloc or alignas");
  }
  return {};
}

// `text` has the backend's own lines.
void add_common_lines(Explanation* explanation) {
  const double intensity = static_cast<double>(explanation->flops) /
                           static_cast<double>(std::max<int64_t>(explanation->kv_bytes, 1));
  explanation->text = "backend: " + explanation->backend + "\nkernel: " + explanation->kernel +
                      "\n" + explanation->text +
                      "workers: " + std::to_string(explanation->num_workers) +
                      "\nitems: " + std::to_string(explanation->num_items) +
                      "\nsplit items: " + std::to_string(explanation->num_splits) +
                      "\nK/V bytes: " + std::to_string(explanation->kv_bytes) +
                      "\nflops: " + std::to_string(explanation->flops) +
                      "\nflops per byte: " + std::to_string(intensity) + "\n";
}

}  // namespace

AttentionLimits limits_of(const AttentionProblem& problem, const Execution& execution) {
  // No field of the limits can hold more, and what cannot be held no call takes.
  const auto held = [](int64_t extent) {
    return static_cast<int32_t>(std::clamp<int64_t>(extent, -kMaxInt32, kMaxInt32));
  };
  AttentionLimits limits;
  limits.device = problem.q.device;
  limits.max_num_tokens = problem.q.shape[0];
  limits.max_num_seqs = held(problem.seqused_k.shape[0]);
  limits.num_q_heads = held(problem.q.shape[1]);
  limits.num_kv_heads = held(problem.kv.k_pages.shape[2]);
  limits.head_dim = held(problem.q.shape[2]);
  limits.split_policy = problem.split_policy;
  limits.fixed_split_keys = problem.fixed_split_keys;
  limits.max_seqlen_k = problem.max_seqlen_k;
  limits.kv_dtype = problem.kv.k_pages.dtype;
  AttentionParams params;
  if (make_attention_params(problem, ProblemUse::kPlan, &params).ok()) {
    limits.max_seqlen_k = params.max_seqlen_k;
  }
  if (execution.parallel_for != nullptr) limits.num_workers = execution.parallel_for->num_workers;
  return limits;
}

Status workspace_size(const AttentionLimits& limits, size_t* bytes) {
  if (bytes == nullptr) return invalid_argument("bytes: got null, wants a pointer");
  if (Status status = validate_limits(limits); !status.ok()) return status;
  AttentionLimits resolved = limits;
  if (resolved.fixed_split_keys == 0) resolved.fixed_split_keys = kDefaultFixedSplitKeys;
  return on_cuda(limits.device) ? cuda::workspace_size(resolved, bytes)
                                : cpu::workspace_size(resolved, bytes);
}

Status plan(const AttentionProblem& problem, const Workspace& workspace, const Execution& execution,
            Plan* plan) {
  if (plan == nullptr) return invalid_argument("plan: got null, wants a pointer");
  if (Status status = validate_execution(execution); !status.ok()) return status;
  AttentionParams params;
  Status status = make_attention_params(problem, ProblemUse::kPlan, &params);
  if (!status.ok()) return status;
  if (status = check_workspace(workspace, params.device); !status.ok()) return status;
  if (on_cuda(params.device)) return cuda::plan(params, workspace, execution, plan);
  if (params.checked) {
    if (status = cpu::check_contents(params); !status.ok()) return status;
  }
  return cpu::plan(params, workspace, execution, plan);
}

Status attention(const AttentionProblem& problem, const Plan& plan, const Execution& execution) {
  if (Status status = validate_execution(execution); !status.ok()) return status;
  AttentionParams params;
  Status status = make_attention_params(problem, ProblemUse::kCompute, &params);
  if (!status.ok()) return status;
  if (on_cuda(params.device)) return cuda::attention(params, plan, execution);
  if (params.checked) {
    if (status = cpu::check_contents(params); !status.ok()) return status;
  }
  return cpu::attention(params, plan, execution);
}

Status unified_attention(const AttentionProblem& problem, const Workspace& workspace,
                         const Execution& execution) {
  Plan step;
  if (Status status = plan(problem, workspace, execution, &step); !status.ok()) return status;
  return attention(problem, step, execution);
}

Status supported(const AttentionProblem& problem) {
  AttentionParams params;
  Status status = make_attention_params(problem, ProblemUse::kPlan, &params);
  if (!status.ok()) return status;
  if (!on_cuda(params.device)) return {};
  return cuda::supported(params);
}

Status explain(const AttentionProblem& problem, const Plan& plan, Explanation* explanation) {
  if (explanation == nullptr) return invalid_argument("explanation: got null, wants a pointer");
  AttentionParams params;
  Status status = make_attention_params(problem, ProblemUse::kPlan, &params);
  if (!status.ok()) return status;
  status = on_cuda(params.device) ? cuda::explain(params, plan, explanation)
                                  : cpu::explain(params, plan, explanation);
  if (status.ok()) add_common_lines(explanation);
  return status;
}

}  // namespace pagoda
