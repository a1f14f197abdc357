// A step of attention once its arguments are read: what attention(), plan() and their like share
// with unified_attention(), which reads others.
#ifndef PAGODA_PYTHON_BINDINGS_ATTEND_H_
#define PAGODA_PYTHON_BINDINGS_ATTEND_H_

#include "calls.h"
#include "pagoda/attention.h"
#include "plan_object.h"

namespace pagoda::python {

struct AttentionCall {
  AttentionProblem problem;
  TensorView kv_starts;  // int32 [num_seqs]: K and V are rows, which settle() lays out as pages
  PyObject* plan = nullptr;
  PyObject* workspace = nullptr;
  PyObject* stream = nullptr;
  DType q_dtype = kRawUInt16;
  DType kv_dtype = kRawUInt16;
  DType out_dtype = kRawUInt16;
};

// Puts into call->problem what the other members say of it.
[[nodiscard]] bool settle(AttentionCall* call);

// Computes a settled call, by its plan if it has one. None, or null with a Python error set.
PyObject* attend(const char* function, const AttentionCall& call, TensorReader* tensors);

// Plans a settled call, in the caller's workspace or in memory of the plan's own.
[[nodiscard]] bool make_plan(const char* function, const AttentionCall& call,
                             const Execution& execution, TensorReader* tensors, PlanState* state);

}  // namespace pagoda::python

#endif  // PAGODA_PYTHON_BINDINGS_ATTEND_H_
