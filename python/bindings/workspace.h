// Where scratch memory comes from when a call names none, and how a tensor becomes one.
#ifndef PAGODA_PYTHON_BINDINGS_WORKSPACE_H_
#define PAGODA_PYTHON_BINDINGS_WORKSPACE_H_

#include <cstddef>
#include <cstdlib>
#include <memory>

#include "pagoda/types.h"
#include "python.h"
#include "tensor_reader.h"

namespace pagoda::python {

constexpr size_t workspace_alignment(DeviceType device) {
  return device == DeviceType::kCuda ? 256 : 64;
}

// Aligned host memory; empty if there was not enough.
class HostMemory {
 public:
  HostMemory() = default;
  explicit HostMemory(size_t bytes) {
    constexpr size_t kAlign = workspace_alignment(DeviceType::kCpu);
    data_.reset(std::aligned_alloc(kAlign, (bytes + kAlign) / kAlign * kAlign));
    bytes_ = data_ != nullptr ? bytes : 0;
  }
  Workspace workspace() const { return {data_.get(), bytes_}; }

 private:
  struct Free {
    void operator()(void* data) const { std::free(data); }
  };
  std::unique_ptr<void, Free> data_;
  size_t bytes_ = 0;
};

// The aligned part of a tensor's memory; false with a Python error set.
[[nodiscard]] bool workspace_of_tensor(PyObject* tensor, TensorReader* tensors,
                                       Workspace* workspace);

// A new tensor of `bytes` bytes on CUDA, by the framework of the tensors that were read.
Ref new_cuda_workspace(const TensorReader& tensors, size_t bytes);

}  // namespace pagoda::python

#endif  // PAGODA_PYTHON_BINDINGS_WORKSPACE_H_
