// A test harness that needs nothing but the CUDA runtime, so that the primitives can be tested on
// any machine with a GPU.
#ifndef PAGODA_TESTS_SM90_CHECK_H_
#define PAGODA_TESTS_SM90_CHECK_H_

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "pagoda/status.h"

namespace pagoda::testing {

// Counts what was checked and prints what failed.
class Suite {
 public:
  // Names what the next checks belong to.
  void begin(std::string name) {
    name_ = std::move(name);
    ++num_cases_;
  }

  void expect(bool ok, const std::string& what) {
    ++num_checks_;
    if (ok) return;
    ++num_failures_;
    if (num_failures_ <= kMaxPrinted) std::printf("FAIL %s: %s\n", name_.c_str(), what.c_str());
  }

  template <class T>
  void expect_equal(const std::vector<T>& got, const std::vector<T>& want) {
    expect(got.size() == want.size(),
           "got " + std::to_string(got.size()) + " elements, want " + std::to_string(want.size()));
    for (size_t i = 0; i < want.size() && i < got.size(); ++i) {
      if (got[i] == want[i]) continue;
      expect(false, "element " + std::to_string(i) + ": got " + std::to_string(got[i]) + ", want " +
                        std::to_string(want[i]));
      return;
    }
  }

  // |got - want| <= relative * |want| + absolute, element by element.
  void expect_near(const std::vector<float>& got, const std::vector<double>& want, double relative,
                   double absolute) {
    expect(got.size() == want.size(), "sizes differ");
    for (size_t i = 0; i < want.size() && i < got.size(); ++i) {
      if (std::abs(got[i] - want[i]) <= relative * std::abs(want[i]) + absolute) continue;
      expect(false, "element " + std::to_string(i) + ": got " + std::to_string(got[i]) + ", want " +
                        std::to_string(want[i]));
      return;
    }
  }

  void expect_ok(const Status& status) { expect(status.ok(), status.message()); }

  // Waits for the device; an error of any launch before counts as a failure.
  void synchronize() {
    const cudaError_t launch = cudaGetLastError();
    const cudaError_t run = cudaDeviceSynchronize();
    const cudaError_t error = launch != cudaSuccess ? launch : run;
    expect(error == cudaSuccess, cudaGetErrorString(error));
  }

  int finish() const {
    std::printf("sm90_test: %d cases, %ld checks, %ld failures\n", num_cases_, num_checks_,
                num_failures_);
    return num_failures_ == 0 && num_checks_ > 0 ? 0 : 1;
  }

 private:
  static constexpr int kMaxPrinted = 50;
  std::string name_;
  int num_cases_ = 0;
  long num_checks_ = 0;
  long num_failures_ = 0;
};

// Memory on the device, filled from and read back to the host.
template <class T>
class DeviceArray {
 public:
  // Filled with bytes 0xff: NaN in every float format, so that what nobody writes is noticed.
  explicit DeviceArray(size_t size) : size_(size) {
    cudaMalloc(&data_, size * sizeof(T));
    cudaMemset(data_, 0xff, size * sizeof(T));
  }
  explicit DeviceArray(const std::vector<T>& from) : DeviceArray(from.size()) {
    cudaMemcpy(data_, from.data(), size_ * sizeof(T), cudaMemcpyHostToDevice);
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }

  T* get() const { return data_; }

  std::vector<T> to_host() const {
    std::vector<T> result(size_);
    cudaMemcpy(result.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost);
    return result;
  }

 private:
  size_t size_;
  T* data_ = nullptr;
};

// Raises the limit on dynamic shared memory as far as `bytes` needs.
template <class Kernel>
void allow_smem(Kernel kernel, size_t bytes) {
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       static_cast<int>(bytes));
}

void test_convert(Suite& suite);
void test_ldst(Suite& suite);
void test_mma_sync(Suite& suite);
void test_pipeline(Suite& suite);
void test_sync(Suite& suite);
void test_tma(Suite& suite);
void test_tma_pages(Suite& suite);
void test_wgmma_registers(Suite& suite);
void test_wgmma_shared(Suite& suite);
void test_wgmma_swizzles(Suite& suite);

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_SM90_CHECK_H_
