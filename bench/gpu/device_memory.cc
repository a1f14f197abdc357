#include "device_memory.h"

#include <algorithm>
#include <cstring>

#include "timing.h"

namespace pagoda::bench {
namespace {

uint16_t to_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

}  // namespace

DeviceMemory::DeviceMemory() : values_(1 << 22), bytes_(1 << 22) {
  std::normal_distribution<float> normal;
  for (uint16_t& x : values_) x = to_bf16(normal(random_));
  // Without the highest bit of the exponent.
  for (uint8_t& x : bytes_) x = static_cast<uint8_t>(random_() & 0xbf);
}

DeviceMemory::~DeviceMemory() {
  for (void* block : device_) cudaFree(block);
  for (void* block : pinned_) cudaFreeHost(block);
}

void* DeviceMemory::allocate(size_t bytes) {
  void* block = nullptr;
  check(cudaMalloc(&block, bytes));
  device_.push_back(block);
  return block;
}

void* DeviceMemory::allocate_pinned(size_t bytes) {
  void* block = nullptr;
  check(cudaMallocHost(&block, bytes));
  pinned_.push_back(block);
  return block;
}

void* DeviceMemory::upload_bytes(const void* host, size_t bytes) {
  void* device = allocate(bytes);
  check(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice));
  return device;
}

TensorView DeviceMemory::random_tensor(DType dtype, std::initializer_list<int64_t> shape) {
  TensorView view = TensorView::contiguous(nullptr, dtype, shape, kDevice);
  const size_t bytes = static_cast<size_t>(view.num_elements()) * size_of(dtype);
  const bool is_8_bit = size_of(dtype) == 1;
  const void* values = is_8_bit ? static_cast<const void*>(bytes_.data()) : values_.data();
  const size_t period = is_8_bit ? bytes_.size() : values_.size() * sizeof(uint16_t);
  auto* data = static_cast<char*>(allocate(bytes));
  for (size_t begin = 0; begin < bytes; begin += period) {
    check(
        cudaMemcpy(data + begin, values, std::min(period, bytes - begin), cudaMemcpyHostToDevice));
  }
  view.data = data;
  return view;
}

}  // namespace pagoda::bench
