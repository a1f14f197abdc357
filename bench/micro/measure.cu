#include "measure.h"

#include <algorithm>
#include <cstdlib>

#include "core/dtype.h"

namespace pagoda::micro {
namespace {

// A well-mixed hash: the same numbers on every run.
__device__ uint32_t mixed(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

__global__ void fill_normal(BFloat16* out, int64_t size, uint32_t seed) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += step) {
    // Box and Muller, one of the two values.
    const auto low = static_cast<uint32_t>(i), high = static_cast<uint32_t>(i >> 32);
    const uint32_t a = mixed(low ^ mixed(high ^ seed)), b = mixed(a ^ 0x9e3779b9u);
    const float uniform = (static_cast<float>(a >> 8) + 0.5f) * 0x1p-24f;
    const float angle = static_cast<float>(b >> 8) * 0x1p-24f;
    out[i] = to_bfloat16(sqrtf(-2.0f * __logf(uniform)) * cospif(2.0f * angle));
  }
}

}  // namespace

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "gpu_micro: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

Gpu current_gpu() {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "device properties");
  return {properties.name, properties.multiProcessorCount};
}

Report::Report(Gpu gpu, const char* json_path) : gpu_(std::move(gpu)) {
  if (json_path == nullptr) return;
  json_ = std::fopen(json_path, "w");
  if (json_ == nullptr) {
    std::fprintf(stderr, "gpu_micro: cannot write %s\n", json_path);
    std::exit(1);
  }
}

Report::~Report() {
  if (json_ != nullptr) std::fclose(json_);
}

void Report::section(const std::string& title) const {
  std::printf("\n## %s\n", title.c_str());
}

void Report::add(const std::string& bench, const Settings& settings, double value,
                 const std::string& unit, const std::string& remark) {
  std::string row = bench;
  std::string json = "{\"gpu\": \"" + gpu_.name + "\", \"bench\": \"" + bench + "\"";
  for (const auto& [key, setting] : settings) {
    row += "  " + key + "=" + setting;
    json += ", \"" + key + "\": \"" + setting + "\"";
  }
  std::printf("%-96s %10.3f %s%s%s\n", row.c_str(), value, unit.c_str(), remark.empty() ? "" : "  ",
              remark.c_str());
  if (json_ == nullptr) return;
  std::fprintf(json_, "%s, \"value\": %.6g, \"unit\": \"%s\", \"remark\": \"%s\"}\n", json.c_str(),
               value, unit.c_str(), remark.c_str());
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

double median_us(Repeat repeat, const std::function<void(int)>& launch) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  int number = 0;
  for (int i = 0; i < 2; ++i) launch(number++);
  std::vector<double> times;
  for (int sample = 0; sample < repeat.samples; ++sample) {
    check(cudaEventRecord(begin), "event");
    for (int i = 0; i < repeat.batch; ++i) launch(number++);
    check(cudaEventRecord(end), "event");
    check(cudaGetLastError(), "launch");
    check(cudaEventSynchronize(end), "run");
    float ms = 0.0f;
    check(cudaEventElapsedTime(&ms, begin, end), "event");
    times.push_back(1e3 * ms / repeat.batch);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return median(times);
}

void fill_normal_bf16(void* data, size_t bytes, uint32_t seed) {
  fill_normal<<<1024, 256>>>(static_cast<BFloat16*>(data), static_cast<int64_t>(bytes / 2), seed);
  check(cudaDeviceSynchronize(), "fill");
}

}  // namespace pagoda::micro
