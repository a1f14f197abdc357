// A problem in host memory, copied to the GPU: tests compute there and compare here.
#ifndef PAGODA_TESTS_CUDA_DEVICE_PROBLEM_H_
#define PAGODA_TESTS_CUDA_DEVICE_PROBLEM_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <vector>

#include "pagoda/attention.h"

namespace pagoda::testing {

// Fails the process with what was tried and CUDA's word for the error.
void check(cudaError_t error, const char* what);

// Device memory; fails the process if there is none, as nothing can be tested then.
class DeviceBuffer {
 public:
  explicit DeviceBuffer(size_t bytes);
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer(const DeviceBuffer&) = delete;

  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

class DeviceProblem {
 public:
  explicit DeviceProblem(const AttentionProblem& host);

  const AttentionProblem& problem() const { return device_; }
  // What out and lse hold now, back to where the host problem keeps them.
  void fetch_outputs() const;
  // The host's out, lse, lengths and block table anew.
  void upload() const;

 private:
  struct Copy {
    void* host;
    void* device;
    size_t bytes;
    bool output;
  };

  void move(TensorView* view, bool output);

  AttentionProblem device_;
  std::vector<DeviceBuffer> buffers_;
  std::vector<Copy> copies_;
};

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_CUDA_DEVICE_PROBLEM_H_
