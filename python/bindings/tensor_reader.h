// Python tensors as views: borrowed for the length of a call, never copied, never waited for.
#ifndef PAGODA_PYTHON_BINDINGS_TENSOR_READER_H_
#define PAGODA_PYTHON_BINDINGS_TENSOR_READER_H_

#include <array>

#include "pagoda/types.h"
#include "python.h"

namespace pagoda::python {

enum class Access { kRead, kWrite };

// Reads the tensors of one call and keeps them borrowed until it is destroyed. The ways, by type:
//   1. DLPack's C exchange table (torch from 2.10 on): a function call, no Python
//   2. the buffer protocol, or NumPy's array interface for the types of ml_dtypes
//   3. the method __dlpack__
class TensorReader {
 public:
  TensorReader() = default;
  ~TensorReader();
  TensorReader(const TensorReader&) = delete;
  TensorReader& operator=(const TensorReader&) = delete;

  // False with a Python error set that names `name`.
  [[nodiscard]] bool read(PyObject* object, const char* name, Access access, TensorView* view);

  // The stream on which the framework of the first tensor on CUDA is working; null if there was
  // no such tensor.
  [[nodiscard]] bool current_stream(void** stream) const;

  // A tensor on CUDA that was read, for what else its framework must be asked; borrowed.
  PyObject* cuda_tensor() const { return cuda_tensor_; }

 private:
  static constexpr int kMaxTensors = 64;

  bool read_buffer(PyObject* object, const char* name, Access access, TensorView* view);
  bool read_dlpack_method(PyObject* object, const char* name, Access access, TensorView* view);

  PyObject* cuda_tensor_ = nullptr;
  Device cuda_device_;
  int num_buffers_ = 0;
  int num_capsules_ = 0;
  // Not initialised: most calls need none. A Py_buffer may point into itself, so it never moves.
  std::array<Py_buffer, kMaxTensors> buffers_;
  std::array<PyObject*, kMaxTensors> capsules_;
};

}  // namespace pagoda::python

#endif  // PAGODA_PYTHON_BINDINGS_TENSOR_READER_H_
