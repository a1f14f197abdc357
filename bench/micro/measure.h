// What the micro-benchmarks share: device memory, timing, and a report for people and programs.
#ifndef PAGODA_BENCH_MICRO_MEASURE_H_
#define PAGODA_BENCH_MICRO_MEASURE_H_

#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace pagoda::micro {

// Stops the program on an error: a measurement after one means nothing.
void check(cudaError_t error, const char* what);

struct Gpu {
  std::string name;
  int num_sms;
};
Gpu current_gpu();

// Settings of a measurement, in the order in which they are printed.
using Settings = std::vector<std::pair<std::string, std::string>>;

// Prints a row per measurement and, where a file was opened, appends it as a line of JSON.
class Report {
 public:
  Report(Gpu gpu, const char* json_path);
  ~Report();
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;

  void section(const std::string& title) const;
  void add(const std::string& bench, const Settings& settings, double value,
           const std::string& unit, const std::string& remark = "");

 private:
  Gpu gpu_;
  std::FILE* json_ = nullptr;
};

// Median time of one launch in microseconds: `samples` times `batch` launches between two events.
// `launch` gets a running number, to rotate over inputs.
struct Repeat {
  int samples = 9;
  int batch = 4;
};
double median_us(Repeat repeat, const std::function<void(int)>& launch);

double median(std::vector<double> values);

// Device memory, freed at the end of the scope.
template <class T>
class Buffer {
 public:
  explicit Buffer(size_t size) : size_(size) { check(cudaMalloc(&data_, bytes()), "cudaMalloc"); }
  explicit Buffer(const std::vector<T>& from) : Buffer(from.size()) {
    check(cudaMemcpy(data_, from.data(), bytes(), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { cudaFree(data_); }

  T* get() const { return data_; }
  size_t size() const { return size_; }
  size_t bytes() const { return size_ * sizeof(T); }
  void clear() { check(cudaMemset(data_, 0, bytes()), "cudaMemset"); }
  std::vector<T> to_host() const {
    std::vector<T> result(size_);
    check(cudaMemcpy(result.data(), data_, bytes(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return result;
  }

 private:
  size_t size_;
  T* data_ = nullptr;
};

// Fills `bytes` of device memory with bf16 values of a normal distribution.
void fill_normal_bf16(void* data, size_t bytes, uint32_t seed);

// Lets `kernel` use `bytes` of dynamic shared memory.
template <class Kernel>
void allow_smem(Kernel kernel, int bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "dynamic shared memory");
}

inline std::string text(int64_t x) {
  return std::to_string(x);
}

void run_convert_rate(Report& report);
void run_launch_gap(Report& report);
void run_mma_error(Report& report);
void run_mma_rate(Report& report);
void run_page_read(Report& report);
void run_stream_read(Report& report);

}  // namespace pagoda::micro

#endif  // PAGODA_BENCH_MICRO_MEASURE_H_
