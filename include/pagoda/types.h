// Words of the public API: element types, devices, tensor views, and where a call runs.
#ifndef PAGODA_TYPES_H_
#define PAGODA_TYPES_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace pagoda {

// Element types. The values are part of the C ABI (c_api.h) and never change.
enum class DType : int32_t {
  kFloat32 = 0,
  kFloat16 = 1,
  kBFloat16 = 2,
  kFloat8E4M3 = 3,  // finite only: 448 is the largest value, 0x7f is NaN
  kFloat8E5M2 = 4,
  kInt8 = 5,
  kUInt8 = 6,
  kInt32 = 7,
  kInt64 = 8,
};

constexpr size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
    case DType::kInt32:
      return 4;
    case DType::kFloat16:
    case DType::kBFloat16:
      return 2;
    case DType::kInt64:
      return 8;
    default:
      return 1;
  }
}

enum class DeviceType : int32_t { kCpu = 0, kCuda = 1 };

struct Device {
  DeviceType type = DeviceType::kCpu;
  int32_t index = 0;

  friend bool operator==(const Device&, const Device&) = default;
};

constexpr int kMaxRank = 4;

// A borrowed, strided tensor. Strides count elements. An optional tensor is absent when its
// `data` is null; a required tensor may have null data only if it has no elements.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  Device device = {};
  int32_t rank = 0;
  int64_t shape[kMaxRank] = {};
  int64_t stride[kMaxRank] = {};

  bool present() const { return data != nullptr; }

  int64_t num_elements() const {
    int64_t count = 1;
    for (int i = 0; i < rank; ++i) count *= shape[i];
    return count;
  }

  // A dense row-major view of `data`; const data is accepted for tensors that are only read.
  static TensorView contiguous(const void* data, DType dtype, std::initializer_list<int64_t> shape,
                               Device device = {}) {
    TensorView view{.data = const_cast<void*>(data), .dtype = dtype, .device = device};
    for (int64_t extent : shape) view.shape[view.rank++] = extent;
    int64_t stride = 1;
    for (int i = view.rank - 1; i >= 0; --i) {
      view.stride[i] = stride;
      stride *= view.shape[i];
    }
    return view;
  }
};

// Caller-owned scratch memory on the device that computes. One allocation of workspace_size()
// bytes serves every step within the limits; 64-byte aligned (256 on CUDA).
struct Workspace {
  void* data = nullptr;
  size_t bytes = 0;
};

// A task of a parallel loop: index in [0, num_tasks), worker in [0, num_workers).
using ParallelTask = void (*)(void* task_context, int64_t index, int32_t worker);

// An engine's own thread pool. `run` calls task(task_context, i, worker) once for each i in
// [0, num_tasks) and returns when all are done. Tasks may run in any order, at once or one after
// another; two tasks that run at the same time have different `worker` numbers.
struct ParallelFor {
  void (*run)(void* pool, int64_t num_tasks, ParallelTask task, void* task_context) = nullptr;
  void* pool = nullptr;
  int32_t num_workers = 1;
};

// Where and how a call runs. On the CPU a call returns when its work is done; on CUDA it
// enqueues work on `stream` and returns.
struct Execution {
  void* stream = nullptr;                     // cudaStream_t; unused on the CPU
  const ParallelFor* parallel_for = nullptr;  // CPU only; null = the library's own pool
};

}  // namespace pagoda

#endif  // PAGODA_TYPES_H_
