#include <iterator>
#include <utility>

#include "attend.h"
#include "errors.h"

namespace pagoda::python {
namespace {

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

bool read_call(const Signature& signature, const Arguments& arguments, TensorReader* tensors,
               AttentionCall* call) {
  return read_arguments(signature, arguments, tensors, call) && settle(call);
}

// Planning needs no out, but checks one.
void stand_in_for_out(AttentionProblem* problem) {
  if (problem->out.rank != 0) return;
  problem->out = problem->q;
  if (problem->q.dtype == DType::kFloat8E4M3) problem->out.dtype = DType::kBFloat16;
}

}  // namespace

PyObject* py_attention(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names) {
  TensorReader tensors;
  AttentionCall call;
  if (!read_call(kAttention, {values, count, names}, &tensors, &call)) return nullptr;
  return attend(kAttention.function, call, &tensors);
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
  // It waits for the stream on CUDA.
  if (!check(function, run_released([&] { return explain(call.problem, state->plan, &said); }))) {
    return nullptr;
  }
  return Py_BuildValue(
      "{s:s,s:s,s:L,s:L,s:L,s:L,s:L,s:d,s:d,s:s}", "backend", said.backend.c_str(), "kernel",
      said.kernel.c_str(), "num_workers", static_cast<long long>(said.num_workers), "num_items",
      static_cast<long long>(said.num_items), "num_splits", static_cast<long long>(said.num_splits),
      "kv_bytes", static_cast<long long>(said.kv_bytes), "flops",
      static_cast<long long>(said.flops), "roof_seconds", said.roof_seconds, "predicted_seconds",
      said.predicted_seconds, "text", said.text.c_str());
}

Ref describe_attention_calls() {
  const AttentionCall call;
  Ref options = describe(kAllFields, &call);
  return options ? Ref(Py_BuildValue("{s:O}", kAttention.function, options.get())) : Ref();
}

}  // namespace pagoda::python
