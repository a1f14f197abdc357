#include "timing.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace pagoda::bench {
namespace {

constexpr int kReplays = 9;

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
  std::nth_element(times.begin(), times.begin() + kReplays / 2, times.end());
  return times[kReplays / 2];
}

}  // namespace pagoda::bench
