#include <algorithm>
#include <string>
#include <utility>

#include "calls.h"
#include "errors.h"
#include "pagoda/attention.h"
#include "plan_object.h"
#include "workspace.h"

namespace pagoda::python {
namespace {

struct AttentionCall {
  AttentionProblem problem;
  TensorView kv_starts;  // int32 [num_seqs]: K and V are rows, see lay_out_rows()
  PyObject* plan = nullptr;
  PyObject* workspace = nullptr;
  PyObject* stream = nullptr;
  DType q_dtype = kRawUInt16;
  DType kv_dtype = kRawUInt16;
  DType out_dtype = kRawUInt16;
};

#define PAGODA_FIELD(kind, name, member) \
  { name, Kind::kind, offsetof(AttentionCall, member) }
#define PAGODA_REQUIRED(kind, name, member) \
  { name, Kind::kind, offsetof(AttentionCall, member), true }

// THE list of options. `plan` comes last, so that the functions that take none cut it off.
constexpr Field kFields[] = {
    PAGODA_REQUIRED(kTensor, "q", problem.q),
    PAGODA_REQUIRED(kTensor, "k_pages", problem.kv.k_pages),
    PAGODA_REQUIRED(kTensor, "v_pages", problem.kv.v_pages),
    PAGODA_FIELD(kOutput, "out", problem.out),
    PAGODA_FIELD(kOutput, "lse", problem.lse),
    PAGODA_REQUIRED(kTensor, "cu_seqlens_q", problem.cu_seqlens_q),
    PAGODA_REQUIRED(kTensor, "seqused_k", problem.seqused_k),
    PAGODA_FIELD(kTensor, "block_table", problem.kv.block_table),
    PAGODA_FIELD(kTensor, "page_indptr", problem.kv.page_indptr),
    PAGODA_FIELD(kTensor, "page_indices", problem.kv.page_indices),
    PAGODA_FIELD(kTensor, "kv_starts", kv_starts),
    PAGODA_FIELD(kInt32, "max_seqlen_q", problem.max_seqlen_q),
    PAGODA_FIELD(kInt32, "max_seqlen_k", problem.max_seqlen_k),
    PAGODA_FIELD(kFloat, "softmax_scale", problem.softmax_scale),
    PAGODA_FIELD(kFloat, "logits_soft_cap", problem.logits_soft_cap),
    PAGODA_FIELD(kBool, "causal", problem.mask.causal),
    PAGODA_FIELD(kTensor, "causal_per_seq", problem.mask.causal_per_seq),
    PAGODA_FIELD(kInt32, "window_left", problem.mask.window_left),
    PAGODA_FIELD(kInt32, "window_right", problem.mask.window_right),
    PAGODA_FIELD(kInt32, "chunk_size", problem.mask.chunk_size),
    PAGODA_FIELD(kInt32, "chunk_lookback", problem.mask.chunk_lookback),
    PAGODA_FIELD(kTensor, "prefix_lens", problem.mask.prefix_lens),
    PAGODA_FIELD(kInt32, "prefix_window_left", problem.mask.prefix_window_left),
    PAGODA_FIELD(kTensor, "tree_words", problem.mask.tree_words),
    PAGODA_FIELD(kTensor, "bidirectional_ranges", problem.mask.bidirectional_ranges),
    PAGODA_FIELD(kBool, "clamp_ranges_to_window_left", problem.mask.clamp_ranges_to_window_left),
    PAGODA_FIELD(kTensor, "alibi_slopes", problem.alibi_slopes),
    PAGODA_FIELD(kBool, "alibi_sqrt", problem.alibi_sqrt),
    PAGODA_FIELD(kTensor, "bias", problem.bias),
    PAGODA_FIELD(kTensor, "sinks", problem.sinks),
    PAGODA_FIELD(kTensor, "q_scale", problem.q_scale),
    PAGODA_FIELD(kTensor, "k_scale", problem.kv.k_scale),
    PAGODA_FIELD(kTensor, "v_scale", problem.kv.v_scale),
    PAGODA_FIELD(kTensor, "k_token_scale", problem.kv.k_token_scale),
    PAGODA_FIELD(kTensor, "v_token_scale", problem.kv.v_token_scale),
    PAGODA_FIELD(kTensor, "out_scale", problem.out_scale),
    PAGODA_FIELD(kLseLayout, "lse_layout", problem.lse_layout),
    PAGODA_FIELD(kSplitPolicy, "split_policy", problem.split_policy),
    PAGODA_FIELD(kInt32, "fixed_split_keys", problem.fixed_split_keys),
    PAGODA_FIELD(kBool, "checked", problem.checked),
    PAGODA_FIELD(kDType, "q_dtype", q_dtype),
    PAGODA_FIELD(kDType, "kv_dtype", kv_dtype),
    PAGODA_FIELD(kDType, "out_dtype", out_dtype),
    PAGODA_FIELD(kObject, "workspace", workspace),
    PAGODA_FIELD(kObject, "stream", stream),
    PAGODA_FIELD(kObject, "plan", plan),
};
static_assert(std::size(kFields) <= kMaxFields);
#undef PAGODA_FIELD
#undef PAGODA_REQUIRED

constexpr std::span<const Field> kAllFields{kFields};
constexpr std::span<const Field> kFieldsButPlan = kAllFields.first(std::size(kFields) - 1);
constexpr int kNumPositional = 3;  // q, k_pages, v_pages
InternedNames kAttentionNames;
constexpr Signature kAttention{"attention", kAllFields, kNumPositional, &kAttentionNames};
InternedNames kPlanNames;
constexpr Signature kPlan{"plan", kFieldsButPlan, kNumPositional, &kPlanNames};
InternedNames kSupportedNames;
constexpr Signature kSupported{"supported", kFieldsButPlan, kNumPositional, &kSupportedNames};
InternedNames kExplainNames;
constexpr Signature kExplain{"explain", kAllFields, kNumPositional, &kExplainNames};

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

bool read_call(const Signature& signature, const Arguments& arguments, TensorReader* tensors,
               AttentionCall* call) {
  if (!read_arguments(signature, arguments, tensors, call)) return false;
  AttentionProblem& problem = call->problem;
  const bool out_is_like_q = call->out_dtype == kRawUInt16 && problem.out.dtype == kRawUInt16;
  if (call->kv_starts.rank != 0 && !lay_out_rows(call)) return false;
  return retype({"q", "q_dtype", &problem.q}, call->q_dtype) &&
         retype({"k_pages", "kv_dtype", &problem.kv.k_pages}, call->kv_dtype) &&
         retype({"v_pages", "kv_dtype", &problem.kv.v_pages}, call->kv_dtype) &&
         (problem.out.rank == 0 || retype({"out", "out_dtype", &problem.out},
                                          out_is_like_q ? call->q_dtype : call->out_dtype));
}

// Planning needs no out, but checks one.
void stand_in_for_out(AttentionProblem* problem) {
  if (problem->out.rank != 0) return;
  problem->out = problem->q;
  if (problem->q.dtype == DType::kFloat8E4M3) problem->out.dtype = DType::kBFloat16;
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

bool make_plan(const char* function, const AttentionCall& call, const Execution& execution,
               TensorReader* tensors, PlanState* state) {
  Workspace workspace;
  if (!take_workspace(function, call, tensors, state, &workspace)) return false;
  return check(function, run_released([&] {
                 return plan(call.problem, workspace, execution, &state->plan);
               }));
}

}  // namespace

PyObject* py_attention(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names) {
  const char* function = kAttention.function;
  TensorReader tensors;
  AttentionCall call;
  Execution execution;
  if (!read_call(kAttention, {values, count, names}, &tensors, &call) ||
      !execution_of(tensors, call.stream, &execution)) {
    return nullptr;
  }
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
  if (!take_workspace(function, call, &tensors, &state, &workspace)) return nullptr;
  return none_if_ok(function,
                    run_released([&] { return unified_attention(problem, workspace, execution); }));
}

PyObject* py_plan(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names) {
  TensorReader tensors;
  AttentionCall call;
  Execution execution;
  if (!read_call(kPlan, {values, count, names}, &tensors, &call) ||
      !execution_of(tensors, call.stream, &execution)) {
    return nullptr;
  }
  stand_in_for_out(&call.problem);
  PlanState state;
  if (!make_plan(kPlan.function, call, execution, &tensors, &state)) return nullptr;
  return new_plan(std::move(state));
}

PyObject* py_supported(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names) {
  TensorReader tensors;
  AttentionCall call;
  if (!read_call(kSupported, {values, count, names}, &tensors, &call)) return nullptr;
  stand_in_for_out(&call.problem);
  const Status status = run_released([&] { return supported(call.problem); });
  return PyUnicode_FromString(status.message().c_str());
}

PyObject* py_explain(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names) {
  const char* function = kExplain.function;
  TensorReader tensors;
  AttentionCall call;
  Execution execution;
  if (!read_call(kExplain, {values, count, names}, &tensors, &call) ||
      !execution_of(tensors, call.stream, &execution)) {
    return nullptr;
  }
  stand_in_for_out(&call.problem);
  PlanState own;
  const PlanState* state = &own;
  if (call.plan != nullptr) {
    state = plan_state_of(call.plan);
    if (state == nullptr) return nullptr;
  } else if (!make_plan(function, call, execution, &tensors, &own)) {
    return nullptr;
  }
  Explanation said;
  if (!check(function, explain(call.problem, state->plan, &said))) return nullptr;
  return Py_BuildValue(
      "{s:s,s:s,s:L,s:L,s:L,s:L,s:L,s:s}", "backend", said.backend.c_str(), "kernel",
      said.kernel.c_str(), "num_workers", static_cast<long long>(said.num_workers), "num_items",
      static_cast<long long>(said.num_items), "num_splits", static_cast<long long>(said.num_splits),
      "kv_bytes", static_cast<long long>(said.kv_bytes), "flops",
      static_cast<long long>(said.flops), "text", said.text.c_str());
}

Ref describe_attention_calls() {
  const AttentionCall call;
  Ref options = describe(kAllFields, &call);
  return options ? Ref(Py_BuildValue("{s:O}", kAttention.function, options.get())) : Ref();
}

}  // namespace pagoda::python
