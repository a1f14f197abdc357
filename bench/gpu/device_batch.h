// A workload in device memory: several copies, so that each call finds a cold L2.
#ifndef PAGODA_BENCH_GPU_DEVICE_BATCH_H_
#define PAGODA_BENCH_GPU_DEVICE_BATCH_H_

#include <cstdint>
#include <vector>

#include "device_memory.h"
#include "pagoda/attention.h"
#include "workload.h"

namespace pagoda::bench {

class DeviceBatch {
 public:
  // Random normal data, shuffled pages.
  explicit DeviceBatch(const Workload& workload);

  int num_copies() const { return static_cast<int>(problems_.size()); }
  const AttentionProblem& problem(int copy) const { return problems_[static_cast<size_t>(copy)]; }
  // One for each copy, of `bytes` bytes.
  std::vector<Workspace> workspaces(size_t bytes);

 private:
  void add_copy(const Workload& workload);

  DeviceMemory memory_;
  std::vector<AttentionProblem> problems_;
};

}  // namespace pagoda::bench

#endif  // PAGODA_BENCH_GPU_DEVICE_BATCH_H_
