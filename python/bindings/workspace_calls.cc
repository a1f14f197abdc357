#include "calls.h"
#include "errors.h"
#include "pagoda/attention.h"
#include "workspace.h"

namespace pagoda::python {
namespace {

#define PAGODA_LIMIT(kind, name, required) \
  { #name, Kind::kind, offsetof(AttentionLimits, name), required }
constexpr Field kLimitFields[] = {
    PAGODA_LIMIT(kDevice, device, false),          PAGODA_LIMIT(kInt64, max_num_tokens, true),
    PAGODA_LIMIT(kInt32, max_num_seqs, true),      PAGODA_LIMIT(kInt32, max_seqlen_k, true),
    PAGODA_LIMIT(kInt32, num_q_heads, true),       PAGODA_LIMIT(kInt32, num_kv_heads, true),
    PAGODA_LIMIT(kInt32, head_dim, true),          PAGODA_LIMIT(kSplitPolicy, split_policy, false),
    PAGODA_LIMIT(kInt32, fixed_split_keys, false), PAGODA_LIMIT(kDType, kv_dtype, false),
};
#undef PAGODA_LIMIT
InternedNames kWorkspaceSizeNames;
constexpr Signature kWorkspaceSize{"workspace_size", kLimitFields, 0, &kWorkspaceSizeNames};

}  // namespace

PyObject* py_workspace_size(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names) {
  TensorReader tensors;
  AttentionLimits limits;
  size_t bytes = 0;
  if (!read_arguments(kWorkspaceSize, {values, count, names}, &tensors, &limits) ||
      !check(kWorkspaceSize.function, workspace_size(limits, &bytes))) {
    return nullptr;
  }
  // A tensor's memory may begin anywhere; its aligned part must suffice.
  return PyLong_FromSize_t(bytes + workspace_alignment(limits.device.type));
}

Ref describe_workspace_calls() {
  const AttentionLimits limits;
  Ref options = describe(kLimitFields, &limits);
  return options ? Ref(Py_BuildValue("{s:O}", kWorkspaceSize.function, options.get())) : Ref();
}

}  // namespace pagoda::python
