// The KV-cache operations as they are called around attention, each with what it must move.
#ifndef PAGODA_BENCH_GPU_CACHE_OPS_H_
#define PAGODA_BENCH_GPU_CACHE_OPS_H_

#include <cuda_runtime_api.h>

#include <functional>
#include <string>
#include <vector>

#include "device_memory.h"

namespace pagoda::bench {

// An operation on data in `memory`. There are many sets of them, so that each call finds a cold L2.
struct CacheOp {
  double bytes;  // read and written
  int num_sets;
  std::function<void(int set, cudaStream_t stream)> enqueue;
  // What it is measured against: a plain copy of as many bytes, the same way.
  cudaMemcpyKind copy = cudaMemcpyDeviceToDevice;
};

struct NamedCacheOp {
  std::string name;
  std::function<CacheOp(DeviceMemory* memory)> make;
};

std::vector<NamedCacheOp> cache_ops();

}  // namespace pagoda::bench

#endif  // PAGODA_BENCH_GPU_CACHE_OPS_H_
