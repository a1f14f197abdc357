// Device memory of one measurement, and tensors in it.
#ifndef PAGODA_BENCH_GPU_DEVICE_MEMORY_H_
#define PAGODA_BENCH_GPU_DEVICE_MEMORY_H_

#include <cstdint>
#include <initializer_list>
#include <random>
#include <vector>

#include "pagoda/types.h"

namespace pagoda::bench {

inline constexpr Device kDevice{DeviceType::kCuda, 0};

class DeviceMemory {
 public:
  DeviceMemory();
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;

  std::mt19937& random() { return random_; }
  void* allocate(size_t bytes);
  void* allocate_pinned(size_t bytes);  // in host memory

  template <class T>
  TensorView upload(const std::vector<T>& host, DType dtype, std::initializer_list<int64_t> shape) {
    void* data = upload_bytes(host.data(), host.size() * sizeof(T));
    return TensorView::contiguous(data, dtype, shape, kDevice);
  }

  // Normal bf16, 8-bit floats below 2; in other types, whatever the bits of bf16 are there.
  TensorView random_tensor(DType dtype, std::initializer_list<int64_t> shape);

 private:
  void* upload_bytes(const void* host, size_t bytes);

  std::mt19937 random_{1};
  // Repeated to fill tensors.
  std::vector<uint16_t> values_;  // bf16
  std::vector<uint8_t> bytes_;
  std::vector<void*> device_;
  std::vector<void*> pinned_;
};

}  // namespace pagoda::bench

#endif  // PAGODA_BENCH_GPU_DEVICE_MEMORY_H_
