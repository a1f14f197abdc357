#include "workspace.h"

#include <algorithm>
#include <cstdint>

#include "element_types.h"

namespace pagoda::python {

bool workspace_of_tensor(PyObject* tensor, TensorReader* tensors, Workspace* workspace) {
  TensorView view;
  if (!tensors->read(tensor, "workspace", Access::kWrite, &view)) return false;
  if (view.rank != 1 || (view.shape[0] > 1 && view.stride[0] != 1) || view.dtype == kRawUInt16) {
    PyErr_SetString(PyExc_ValueError,
                    "workspace: wants a contiguous uint8 tensor of one dimension");
    return false;
  }
  const size_t align = workspace_alignment(view.device.type);
  const size_t bytes = static_cast<size_t>(view.shape[0]) * size_of(view.dtype);
  const size_t skipped = (align - reinterpret_cast<uintptr_t>(view.data) % align) % align;
  *workspace = {static_cast<char*>(view.data) + skipped, bytes - std::min(bytes, skipped)};
  return true;
}

Ref new_cuda_workspace(const TensorReader& tensors, size_t bytes) {
  Ref frameworks(PyImport_ImportModule("pagoda._frameworks"));
  if (!frameworks) return Ref();
  return Ref(PyObject_CallMethod(frameworks.get(), "empty_bytes", "On", tensors.cuda_tensor(),
                                 static_cast<Py_ssize_t>(bytes)));
}

}  // namespace pagoda::python
