// Launching a kernel so that its start overlaps the end of the one before it in the stream.
#ifndef PAGODA_CUDA_KERNELS_LAUNCH_H_
#define PAGODA_CUDA_KERNELS_LAUNCH_H_

#include <cuda_runtime.h>

#include <atomic>

#include "core/dtype.h"

namespace pagoda::cuda {

template <class T>
constexpr DType kDTypeOf = DType::kBFloat16;
template <>
constexpr DType kDTypeOf<Float16> = DType::kFloat16;
template <>
constexpr DType kDTypeOf<Float8E4M3> = DType::kFloat8E4M3;
template <>
constexpr DType kDTypeOf<Float8E5M2> = DType::kFloat8E5M2;
template <>
constexpr DType kDTypeOf<int8_t> = DType::kInt8;

// Allows a kernel more shared memory than the 48 KB that every kernel has, once on each device.
template <auto kKernel>
cudaError_t allow_smem(int32_t device, size_t bytes) {
  static std::atomic<uint64_t> allowed{0};
  const uint64_t bit = uint64_t{1} << (device % 64);
  if ((allowed.load(std::memory_order_relaxed) & bit) != 0) return cudaSuccess;
  const cudaError_t error = cudaFuncSetAttribute(
      kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (error == cudaSuccess && device < 64) allowed.fetch_or(bit, std::memory_order_relaxed);
  return error;
}

struct LaunchShape {
  dim3 ctas;
  unsigned threads;
  size_t smem_bytes;
};

// The kernel calls sm90::wait_for_previous_grids() before it reads what others wrote.
template <class... Params, class... Args>
cudaError_t launch_dependent(void (*kernel)(Params...), LaunchShape shape, cudaStream_t stream,
                             const Args&... args) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = shape.ctas;
  config.blockDim = dim3(shape.threads);
  config.dynamicSmemBytes = shape.smem_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, args...);
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_LAUNCH_H_
