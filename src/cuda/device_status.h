// What the CUDA runtime says, as a Status; and whether a device is one that has kernels here.
#ifndef PAGODA_CUDA_DEVICE_STATUS_H_
#define PAGODA_CUDA_DEVICE_STATUS_H_

#include <cuda_runtime_api.h>

#include <string>

#include "pagoda/status.h"

namespace pagoda::cuda {

inline Status device_error(cudaError_t error) {
  if (error == cudaSuccess) return {};
  return {StatusCode::kDeviceError, std::string("CUDA: ") + cudaGetErrorString(error)};
}

// The device must be sm_90.
inline Status check_hopper(int32_t device) {
  int major = 0;
  const cudaError_t error =
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  if (error != cudaSuccess) return device_error(error);
  if (major == 9) return {};
  return {StatusCode::kUnsupported, "device: got compute capability " + std::to_string(major) +
                                        ".x, this build has kernels for 9.0 (Hopper)"};
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_DEVICE_STATUS_H_
