// The extension module pagoda._pagoda: converts arguments and calls the library, nothing else.
#include "cache_tensor.h"
#include "calls.h"
#include "plan_object.h"

namespace pagoda::python {
namespace {

using Call = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);

PyMethodDef method(const char* name, Call call) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call)),
          METH_FASTCALL | METH_KEYWORDS, nullptr};
}

int fill(PyObject* module) {
  if (!add_plan_type(module) || !add_cache_tensor_type(module)) return -1;
  Ref options(PyDict_New());
  for (Ref (*describe_calls)() :
       {describe_attention_calls, describe_unified_call, describe_workspace_calls,
        describe_make_cache_call, describe_kv_cache_calls}) {
    Ref some = describe_calls();
    if (!options || !some || PyDict_Update(options.get(), some.get()) != 0) return -1;
  }
  if (PyModule_AddObjectRef(module, "OPTIONS", options.get()) != 0) return -1;
  if (PyModule_AddStringConstant(module, "__version__", PAGODA_VERSION_STRING) != 0) return -1;
  return PyModule_AddIntConstant(module, "HAS_CUDA", PAGODA_PYTHON_HAS_CUDA);
}

PyObject* define() {
  static PyMethodDef methods[] = {
      method("attention", py_attention),
      method("unified_attention", py_unified_attention),
      method("plan", py_plan),
      method("workspace_size", py_workspace_size),
      method("supported", py_supported),
      method("explain", py_explain),
      method("make_kv_cache", py_make_kv_cache),
      method("write_kv_cache", py_write_kv_cache),
      method("merge_states", py_merge_states),
      method("gather_kv_cache", py_gather_kv_cache),
      method("copy_pages", py_copy_pages),
      method("swap_pages", py_swap_pages),
      {},
  };
  static PyModuleDef_Slot slots[] = {{Py_mod_exec, reinterpret_cast<void*>(fill)}, {0, nullptr}};
  static PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                                   "pagoda._pagoda",
                                   nullptr,
                                   0,
                                   methods,
                                   slots,
                                   nullptr,
                                   nullptr,
                                   nullptr};
  return PyModuleDef_Init(&definition);
}

}  // namespace
}  // namespace pagoda::python

PyMODINIT_FUNC PyInit__pagoda() {
  return pagoda::python::define();
}
