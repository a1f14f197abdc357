// Makes a device current for as long as it lives.
#ifndef PAGODA_CUDA_DEVICE_GUARD_H_
#define PAGODA_CUDA_DEVICE_GUARD_H_

#include <cuda_runtime_api.h>

namespace pagoda::cuda {

class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    if (cudaGetDevice(&before_) != cudaSuccess || before_ == device) return;
    changed_ = cudaSetDevice(device) == cudaSuccess;
  }
  ~DeviceGuard() {
    if (changed_) cudaSetDevice(before_);
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_DEVICE_GUARD_H_
