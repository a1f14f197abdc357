#include "timing.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

namespace pagoda::bench {
namespace {

constexpr int kReplays = 9;

double median(std::vector<double>* values) {
  const auto middle = values->begin() + static_cast<std::ptrdiff_t>(values->size() / 2);
  std::nth_element(values->begin(), middle, values->end());
  return *middle;
}

}  // namespace

void check(cudaError_t error) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

void require(const Status& status) {
  if (!status.ok()) throw std::runtime_error(status.message());
}

double median_microseconds(cudaStream_t stream, int calls,
                           const std::function<void(int)>& enqueue) {
  cudaGraph_t graph;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < calls; ++i) enqueue(i);
  check(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t replay;
  check(cudaGraphInstantiate(&replay, graph, 0));
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin));
  check(cudaEventCreate(&end));
  std::vector<double> times;
  for (int i = 0; i < kReplays + 1; ++i) {
    check(cudaEventRecord(begin, stream));
    check(cudaGraphLaunch(replay, stream));
    check(cudaEventRecord(end, stream));
    check(cudaStreamSynchronize(stream));
    float milliseconds = 0.0f;
    check(cudaEventElapsedTime(&milliseconds, begin, end));
    if (i > 0) times.push_back(1e3 * milliseconds / calls);  // the first warms up
  }
  check(cudaEventDestroy(begin));
  check(cudaEventDestroy(end));
  check(cudaGraphExecDestroy(replay));
  check(cudaGraphDestroy(graph));
  return median(&times);
}

double median_host_microseconds(cudaStream_t stream, int calls,
                                const std::function<void(int)>& enqueue) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  for (int repeat = 0; repeat < kReplays; ++repeat) {
    const Clock::time_point begin = Clock::now();
    for (int i = 0; i < calls; ++i) enqueue(i);
    const std::chrono::duration<double, std::micro> time = Clock::now() - begin;
    check(cudaStreamSynchronize(stream));
    times.push_back(time.count() / calls);
  }
  return median(&times);
}

}  // namespace pagoda::bench
