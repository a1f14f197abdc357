// The functions of the module, as METH_FASTCALL | METH_KEYWORDS wants them.
#ifndef PAGODA_PYTHON_BINDINGS_CALLS_H_
#define PAGODA_PYTHON_BINDINGS_CALLS_H_

#include "arguments.h"
#include "element_types.h"
#include "pagoda/types.h"
#include "python.h"
#include "tensor_reader.h"

namespace pagoda::python {

PyObject* py_attention(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names);
PyObject* py_unified_attention(PyObject*, PyObject* const* values, Py_ssize_t count,
                               PyObject* names);
PyObject* py_plan(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names);
PyObject* py_workspace_size(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names);
PyObject* py_supported(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names);
PyObject* py_explain(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names);

PyObject* py_make_kv_cache(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names);
PyObject* py_write_kv_cache(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names);
PyObject* py_merge_states(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names);
PyObject* py_gather_kv_cache(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names);
PyObject* py_copy_pages(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names);
PyObject* py_swap_pages(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names);

// {function: its options as describe() lists them}
Ref describe_attention_calls();
Ref describe_unified_call();
Ref describe_workspace_calls();
Ref describe_make_cache_call();
Ref describe_kv_cache_calls();

// A tensor whose stored type is not what its numbers are: NumPy's uint16 and uint8.
struct Retyped {
  const char* name;
  const char* option;
  TensorView* view;
};

// Gives `tensor` the type that its option named, if it did; false with a Python error set if the
// sizes differ or a uint16 is left without one.
[[nodiscard]] bool retype(const Retyped& tensor, DType wanted);

// Where a call on `device` runs: `stream` if given, else the stream of the tensors' framework.
[[nodiscard]] bool execution_of(const TensorReader& tensors, PyObject* stream,
                                Execution* execution);

}  // namespace pagoda::python

#endif  // PAGODA_PYTHON_BINDINGS_CALLS_H_
