// pagoda.Plan: a planned step and the memory that it lies in.
#ifndef PAGODA_PYTHON_BINDINGS_PLAN_OBJECT_H_
#define PAGODA_PYTHON_BINDINGS_PLAN_OBJECT_H_

#include "pagoda/attention.h"
#include "python.h"
#include "workspace.h"

namespace pagoda::python {

struct PlanState {
  Plan plan;
  Ref workspace;      // the tensor, or
  HostMemory memory;  // the plan's own memory
};

// Adds the type to the module; false with a Python error set.
[[nodiscard]] bool add_plan_type(PyObject* module);

// A new object that owns `state`.
PyObject* new_plan(PlanState state);

// Null with a Python error set if `object` is no Plan.
const PlanState* plan_state_of(PyObject* object);

}  // namespace pagoda::python

#endif  // PAGODA_PYTHON_BINDINGS_PLAN_OBJECT_H_
