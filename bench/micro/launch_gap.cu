// What it costs that one kernel follows another in a graph, with and without programmatic dependent
// launch, for kernels that leave room for the next one's CTAs and for kernels that do not.
#include "cuda/sm90/sync.cuh"
#include "measure.h"

namespace pagoda::micro {
namespace {

constexpr int kNodes = 200;

// Waits for the grids before, lets the next one start, and works for `cycles`.
__global__ void spin(int64_t cycles) {
  sm90::wait_for_previous_grids();
  sm90::launch_dependent_grids();
  const int64_t start = clock64();
  while (clock64() - start < cycles) {
  }
}

struct Node {
  int ctas;
  int threads;
  int smem_bytes;
  int64_t cycles;
};

void launch(const Node& node, bool dependent, cudaStream_t stream) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(node.ctas);
  config.blockDim = dim3(node.threads);
  config.dynamicSmemBytes = node.smem_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = dependent ? 1 : 0;
  check(cudaLaunchKernelEx(&config, spin, node.cycles), "launch");
}

// Microseconds per repetition of `nodes` in a graph of kNodes repetitions.
double us_per_repetition(const std::vector<Node>& nodes, bool dependent) {
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  check(cudaStreamCreate(&stream), "stream");
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "capture");
  for (int i = 0; i < kNodes; ++i) {
    for (const Node& node : nodes) launch(node, dependent, stream);
  }
  check(cudaStreamEndCapture(stream, &graph), "capture");
  check(cudaGraphInstantiate(&executable, graph, 0), "graph");
  const double us = median_us({.samples = 15, .batch = 1},
                              [&](int) { check(cudaGraphLaunch(executable, nullptr), "graph"); });
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  return us / kNodes;
}

}  // namespace

void run_launch_gap(Report& report) {
  report.section("kernel after kernel in a graph: time beyond the kernels' own");
  const Gpu gpu = current_gpu();
  constexpr int kLargeSmem = 200 * 1024;
  constexpr int64_t kCycles = 8000;
  allow_smem(spin, kLargeSmem);

  const Node timed{gpu.num_sms, 128, 0, kCycles};
  Node longer = timed;
  longer.cycles = 11 * kCycles;
  const double us_of_spin =
      (us_per_repetition({longer}, false) - us_per_repetition({timed}, false)) / 10;

  for (bool dependent : {false, true}) {
    const std::string name = dependent ? "programmatic" : "plain";
    const auto add = [&](const std::string& shape, const std::vector<Node>& nodes) {
      double own = 0.0;
      for (const Node& node : nodes) own += us_of_spin * static_cast<double>(node.cycles) / kCycles;
      report.add("launch_gap/" + name, {{"kernels", shape}},
                 us_per_repetition(nodes, dependent) - own, "us");
    };
    add("empty, 132 x 128 threads", {{gpu.num_sms, 128, 0, 0}});
    add("empty, 132 x 384 threads, 200 KiB", {{gpu.num_sms, 384, kLargeSmem, 0}});
    add("132 x 128 threads", {timed});
    add("132 x 384 threads, 100 KiB", {{gpu.num_sms, 384, kLargeSmem / 2, kCycles}});
    add("132 x 384 threads, 200 KiB", {{gpu.num_sms, 384, kLargeSmem, kCycles}});
    add("396 x 160 threads, 64 KiB", {{3 * gpu.num_sms, 160, 64 * 1024, kCycles}});
    add("200 KiB, then 528 x 128 threads",
        {{gpu.num_sms, 384, kLargeSmem, kCycles}, {4 * gpu.num_sms, 128, 0, kCycles / 8}});
    add("1 x 1024, then 200 KiB",
        {{1, 1024, 0, kCycles / 8}, {gpu.num_sms, 384, kLargeSmem, kCycles}});
  }
}

}  // namespace pagoda::micro
