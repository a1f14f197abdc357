#include "plan_object.h"

#include <utility>

namespace pagoda::python {
namespace {

struct PlanObject {
  PyObject_HEAD;
  PlanState* state;
};

PyTypeObject* plan_type = nullptr;

void deallocate(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  delete reinterpret_cast<PlanObject*>(self)->state;
  auto* release = reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free));
  release(self);
  Py_DECREF(type);
}

constexpr char kDoc[] =
    "A planned step, as pagoda.plan() returns it: serves every layer that has the same lengths,\n"
    "heads, mask and split policy. It keeps its workspace alive; one call at a time may use it.";

}  // namespace

bool add_plan_type(PyObject* module) {
  PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(deallocate)},
                         {Py_tp_doc, const_cast<char*>(kDoc)},
                         {0, nullptr}};
  PyType_Spec spec = {"pagoda.Plan", sizeof(PlanObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  plan_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return plan_type != nullptr &&
         PyModule_AddObjectRef(module, "Plan", reinterpret_cast<PyObject*>(plan_type)) == 0;
}

PyObject* new_plan(PlanState state) {
  auto* allocate = reinterpret_cast<allocfunc>(PyType_GetSlot(plan_type, Py_tp_alloc));
  PyObject* self = allocate(plan_type, 0);
  if (self == nullptr) return nullptr;
  reinterpret_cast<PlanObject*>(self)->state = new PlanState(std::move(state));
  return self;
}

const PlanState* plan_state_of(PyObject* object) {
  if (Py_TYPE(object) == plan_type) return reinterpret_cast<PlanObject*>(object)->state;
  PyErr_SetString(PyExc_TypeError, "plan: wants what pagoda.plan() returned");
  return nullptr;
}

}  // namespace pagoda::python
