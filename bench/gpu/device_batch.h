// A workload in device memory: several copies, so that each call finds a cold L2.
#ifndef PAGODA_BENCH_GPU_DEVICE_BATCH_H_
#define PAGODA_BENCH_GPU_DEVICE_BATCH_H_

#include <cstdint>
#include <map>
#include <random>
#include <vector>

#include "pagoda/attention.h"
#include "workload.h"

namespace pagoda::bench {

class DeviceBatch {
 public:
  // Random normal data, shuffled pages.
  explicit DeviceBatch(const Workload& workload);
  ~DeviceBatch();
  DeviceBatch(const DeviceBatch&) = delete;

  int num_copies() const { return static_cast<int>(problems_.size()); }
  const AttentionProblem& problem(int copy) const { return problems_[static_cast<size_t>(copy)]; }
  // One for each copy, of `bytes` bytes.
  std::vector<Workspace> workspaces(size_t bytes);

 private:
  void* allocate(size_t bytes);
  template <class T>
  T* upload(const std::vector<T>& host);
  TensorView random_tensor(DType dtype, std::initializer_list<int64_t> shape);
  TensorView token_scales(std::initializer_list<int64_t> shape);
  std::vector<uint8_t> random_values(DType dtype);
  void add_copy(const Workload& workload);

  std::mt19937 random_{1};
  std::map<DType, std::vector<uint8_t>> values_;
  std::vector<void*> memory_;
  std::vector<AttentionProblem> problems_;
};

}  // namespace pagoda::bench

#endif  // PAGODA_BENCH_GPU_DEVICE_BATCH_H_
