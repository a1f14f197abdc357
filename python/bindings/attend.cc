#include "attend.h"

#include <algorithm>
#include <utility>

#include "errors.h"
#include "workspace.h"

namespace pagoda::python {
namespace {

// Rows [num_rows, num_kv_heads, head_dim] as pages: a page begins at every row and is as long as
// the longest sequence, so they overlap, and a sequence's only page is the row it starts at.
bool lay_out_rows(AttentionCall* call) {
  PagedKvCache& kv = call->problem.kv;
  if (kv.block_table.rank != 0 || kv.page_indptr.rank != 0) {
    PyErr_SetString(PyExc_ValueError,
                    "kv_starts: got it beside a table of pages, wants one of the two");
    return false;
  }
  for (TensorView* rows : {&kv.k_pages, &kv.v_pages}) {
    if (rows->rank != 3) {
      PyErr_SetString(PyExc_ValueError,
                      "kv_starts: wants k_pages and v_pages to be rows, [num_rows, num_kv_heads, "
                      "head_dim]");
      return false;
    }
    const int32_t longest = call->problem.max_seqlen_k;
    const int64_t page_size = longest > 0 ? longest : std::max<int64_t>(rows->shape[0], 1);
    *rows = {.data = rows->data,
             .dtype = rows->dtype,
             .device = rows->device,
             .rank = 4,
             .shape = {rows->shape[0], page_size, rows->shape[1], rows->shape[2]},
             .stride = {rows->stride[0], rows->stride[0], rows->stride[1], rows->stride[2]}};
  }
  kv.block_table = call->kv_starts;
  if (call->kv_starts.rank != 1) return true;  // the library refuses it
  kv.block_table.rank = 2;
  kv.block_table.shape[1] = 1;
  kv.block_table.stride[1] = 1;
  return true;
}

Status size_of_workspace(const AttentionProblem& problem, size_t* bytes) {
  return workspace_size(limits_of(problem), bytes);
}

// plan + attention in the calling thread's own scratch memory, which grows to the largest step.
Status attend_in_scratch(const AttentionProblem& problem, const Execution& execution) {
  static thread_local HostMemory scratch;
  Status status = unified_attention(problem, scratch.workspace(), execution);
  if (status.code() != StatusCode::kWorkspaceTooSmall) return status;
  size_t bytes = 0;
  if (status = size_of_workspace(problem, &bytes); !status.ok()) return status;
  scratch = HostMemory(bytes);
  return unified_attention(problem, scratch.workspace(), execution);
}

// The memory for a plan of `problem`: the caller's tensor, the plan's own, or a new CUDA tensor.
bool take_workspace(const char* function, const AttentionCall& call, TensorReader* tensors,
                    PlanState* state, Workspace* workspace) {
  if (call.workspace != nullptr) {
    Py_INCREF(call.workspace);
    state->workspace = Ref(call.workspace);
    return workspace_of_tensor(call.workspace, tensors, workspace);
  }
  size_t bytes = 0;
  if (!check(function, size_of_workspace(call.problem, &bytes))) return false;
  if (call.problem.q.device.type == DeviceType::kCpu) {
    state->memory = HostMemory(bytes);
    *workspace = state->memory.workspace();
    return true;
  }
  state->workspace = new_cuda_workspace(*tensors, bytes);
  return state->workspace && workspace_of_tensor(state->workspace.get(), tensors, workspace);
}

}  // namespace

bool settle(AttentionCall* call) {
  AttentionProblem& problem = call->problem;
  const bool out_is_like_q = call->out_dtype == kRawUInt16 && problem.out.dtype == kRawUInt16;
  if (call->kv_starts.rank != 0 && !lay_out_rows(call)) return false;
  return retype({"q", "q_dtype", &problem.q}, call->q_dtype) &&
         retype({"k_pages", "kv_dtype", &problem.kv.k_pages}, call->kv_dtype) &&
         retype({"v_pages", "kv_dtype", &problem.kv.v_pages}, call->kv_dtype) &&
         (problem.out.rank == 0 || retype({"out", "out_dtype", &problem.out},
                                          out_is_like_q ? call->q_dtype : call->out_dtype));
}

bool make_plan(const char* function, const AttentionCall& call, const Execution& execution,
               TensorReader* tensors, PlanState* state) {
  Workspace workspace;
  if (!take_workspace(function, call, tensors, state, &workspace)) return false;
  return check(function, run_released([&] {
                 return plan(call.problem, workspace, execution, &state->plan);
               }));
}

PyObject* attend(const char* function, const AttentionCall& call, TensorReader* tensors) {
  Execution execution;
  if (!execution_of(*tensors, call.stream, &execution)) return nullptr;
  const AttentionProblem& problem = call.problem;
  if (call.plan != nullptr) {
    const PlanState* state = plan_state_of(call.plan);
    if (state == nullptr) return nullptr;
    return none_if_ok(function,
                      run_released([&] { return attention(problem, state->plan, execution); }));
  }
  const bool on_cpu = problem.q.device.type == DeviceType::kCpu;
  if (on_cpu && call.workspace == nullptr) {
    return none_if_ok(function,
                      run_released([&] { return attend_in_scratch(problem, execution); }));
  }
  PlanState state;
  Workspace workspace;
  if (!take_workspace(function, call, tensors, &state, &workspace)) return nullptr;
  return none_if_ok(function,
                    run_released([&] { return unified_attention(problem, workspace, execution); }));
}

}  // namespace pagoda::python
