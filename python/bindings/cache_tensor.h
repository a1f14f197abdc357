// pagoda.CacheTensor: one tensor of a KV cache that the library made, for DLPack and NumPy to see.
#ifndef PAGODA_PYTHON_BINDINGS_CACHE_TENSOR_H_
#define PAGODA_PYTHON_BINDINGS_CACHE_TENSOR_H_

#include <memory>

#include "pagoda/kv_cache.h"
#include "python.h"

namespace pagoda::python {

// Adds the type to the module; false with a Python error set.
[[nodiscard]] bool add_cache_tensor_type(PyObject* module);

// A new object that shares the cache, of which `view` is one of the views.
Ref new_cache_tensor(const std::shared_ptr<const HostKvCache>& cache, const TensorView& view);

}  // namespace pagoda::python

#endif  // PAGODA_PYTHON_BINDINGS_CACHE_TENSOR_H_
