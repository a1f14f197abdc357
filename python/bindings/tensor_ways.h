// By which way the tensors of a Python type are read.
#ifndef PAGODA_PYTHON_BINDINGS_TENSOR_WAYS_H_
#define PAGODA_PYTHON_BINDINGS_TENSOR_WAYS_H_

#include "dlpack.h"
#include "python.h"

namespace pagoda::python {

enum class Way { kExchange, kBuffer, kDlpackMethod, kNone };

// `api` is there with kExchange only.
struct TypeEntry {
  PyTypeObject* type;
  Way way;
  const dlpack::ExchangeApi* api;
};

// Looked up once a type; see tensor_reader.h for the order.
const TypeEntry& entry_of(PyObject* object);

}  // namespace pagoda::python

#endif  // PAGODA_PYTHON_BINDINGS_TENSOR_WAYS_H_
