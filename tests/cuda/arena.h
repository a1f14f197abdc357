// All tensors of a call side by side in one piece of host memory, and at the same places in a copy
// of it on the GPU: what a call wrote, and what it was to leave alone, is compared at once.
#ifndef PAGODA_TESTS_CUDA_ARENA_H_
#define PAGODA_TESTS_CUDA_ARENA_H_

#include <cstdint>
#include <string>
#include <vector>

#include "cases_memory.h"
#include "cuda/device_problem.h"
#include "pagoda/types.h"

namespace pagoda::testing {

#define PAGODA_SKIP_WITHOUT_GPU()                                          \
  int num_devices = 0;                                                     \
  if (cudaGetDeviceCount(&num_devices) != cudaSuccess || num_devices == 0) \
  GTEST_SKIP() << "no "                                                    \
                  "GPU"

class Arena {
 public:
  explicit Arena(size_t capacity = size_t{32} << 20);
  Arena(const Arena&) = delete;

  // A tensor in poisoned memory with poison around it, `skew` elements behind a 16-byte boundary.
  TensorView make(DType dtype, const std::vector<int64_t>& shape, const Placement& placement = {},
                  int64_t skew = 0);

  // Host memory to the GPU, where views then lie as on_device() says. All tensors are made before.
  void upload();
  TensorView on_device(const TensorView& view) const;

  // What the GPU holds now, and where a view lies in such bytes.
  std::vector<uint8_t> download() const;
  TensorView in(std::vector<uint8_t>* bytes, const TensorView& view) const;

  // Where `bytes` differ from host memory, empty if nowhere; every NaN is like any other.
  std::string difference(const std::vector<uint8_t>& bytes) const;

 private:
  TensorView moved(TensorView view, void* base) const;

  Buffer host_;
  size_t used_ = 0;
  std::vector<DeviceBuffer> device_;  // one, once uploaded
  std::vector<TensorView> tensors_;
};

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_CUDA_ARENA_H_
