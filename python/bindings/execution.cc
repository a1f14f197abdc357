// What every call has in common: the stream, and types that an option names.
#include "calls.h"

namespace pagoda::python {

bool retype(const Retyped& tensor, DType wanted) {
  TensorView& view = *tensor.view;
  const bool is_given = wanted != kRawUInt16;
  if (!is_given && view.dtype != kRawUInt16) return true;
  const size_t bytes = element_bytes(view.dtype);
  if (is_given && size_of(wanted) == bytes) {
    view.dtype = wanted;
    return true;
  }
  PyErr_Format(PyExc_TypeError, "%s: got elements of %zu bytes%s, wants %s='bfloat16' or the like",
               tensor.name, bytes, is_given ? " and a type of another size" : " of type uint16",
               tensor.option);
  return false;
}

bool execution_of(const TensorReader& tensors, PyObject* stream, Execution* execution) {
  if (stream == nullptr) return tensors.current_stream(&execution->stream);
  Ref number;
  for (const char* attribute : {"cuda_stream", "ptr"}) {  // torch's and CuPy's streams
    if (PyLong_Check(stream) || number) break;
    number = Ref(PyObject_GetAttrString(stream, attribute));
    PyErr_Clear();
  }
  execution->stream = PyLong_AsVoidPtr(number ? number.get() : stream);
  if (PyErr_Occurred() == nullptr) return true;
  PyErr_SetString(PyExc_TypeError,
                  "stream: wants a stream of torch or CuPy, or a cudaStream_t as an int");
  return false;
}

}  // namespace pagoda::python
