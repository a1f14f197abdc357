// Times the CUDA backend on bench/workloads.json, or with --ops its KV-cache operations: graph
// replay, rotating inputs (cold L2), random data, shuffled pages, median; planning apart.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "cache_ops.h"
#include "device_batch.h"
#include "timing.h"
#include "workload.h"

namespace pagoda::bench {
namespace {

struct Options {
  std::string workloads = "bench/workloads.json";
  std::string only;
  DType kv_dtype = DType::kBFloat16;
  std::string json;
  bool ops = false;
  // Measured ceilings of one H200; other cards have others.
  double terabytes_per_second = 4.45;
  double teraflops = 740.0;
};

// The least that a kernel takes: an empty one in a graph, and the latency of its first bytes.
constexpr double kFixedMicroseconds = 1.5;
constexpr int kMinCalls = 24;

struct Result {
  double attention_us;
  double plan_us;
  // Of the calling thread, outside of graphs.
  double attention_host_us;
  double plan_host_us;
};

Result time_workload(const Workload& workload, cudaStream_t stream) {
  DeviceBatch batch(workload);
  const Execution execution{.stream = stream};
  size_t bytes = 0;
  require(workspace_size(limits_of(batch.problem(0)), &bytes));
  const std::vector<Workspace> workspaces = batch.workspaces(bytes);
  std::vector<Plan> plans(workspaces.size());
  const int copies = batch.num_copies();
  auto plan_copy = [&](int i) {
    const auto c = static_cast<size_t>(i % copies);
    require(plan(batch.problem(i % copies), workspaces[c], execution, &plans[c]));
  };
  auto attend_copy = [&](int i) {
    require(
        attention(batch.problem(i % copies), plans[static_cast<size_t>(i % copies)], execution));
  };
  for (int i = 0; i < copies; ++i) plan_copy(i), attend_copy(i);
  check(cudaStreamSynchronize(stream));
  const int calls = std::max(kMinCalls, copies);
  return {.attention_us = median_microseconds(stream, calls, attend_copy),
          .plan_us = median_microseconds(stream, calls, plan_copy),
          .attention_host_us = median_host_microseconds(stream, calls, attend_copy),
          .plan_host_us = median_host_microseconds(stream, calls, plan_copy)};
}

// The same bytes by a plain copy: between two pieces of memory of which many lie side by side.
double time_copy(const CacheOp& op, DeviceMemory* memory, cudaStream_t stream) {
  const bool is_local = op.copy == cudaMemcpyDeviceToDevice;
  // A copy within the device reads them and writes them. Pieces begin where copies are quickest.
  constexpr size_t kAlign = 256;
  const auto bytes = static_cast<size_t>(is_local ? op.bytes / 2 : op.bytes) / kAlign * kAlign;
  const auto sets = static_cast<size_t>(op.num_sets);
  char* const device = static_cast<char*>(memory->allocate(sets * bytes));
  void* const other =
      is_local ? memory->allocate(sets * bytes) : memory->allocate_pinned(sets * bytes);
  const bool to_other = op.copy != cudaMemcpyHostToDevice;
  return median_microseconds(stream, std::max(kMinCalls, op.num_sets), [&](int i) {
    const size_t at = static_cast<size_t>(i % op.num_sets) * bytes;
    char* const there = static_cast<char*>(other) + at;
    check(cudaMemcpyAsync(to_other ? there : device + at, to_other ? device + at : there, bytes,
                          op.copy, stream));
  });
}

nlohmann::json run_ops(const Options& options, cudaStream_t stream) {
  std::printf("%-30s %10s %10s %8s %10s %7s\n", "operation", "us", "MB", "GB/s", "copy us",
              "% copy");
  nlohmann::json results = nlohmann::json::array();
  for (const NamedCacheOp& named : cache_ops()) {
    if (named.name.find(options.only) == std::string::npos) continue;
    DeviceMemory memory;
    const CacheOp op = named.make(&memory);
    op.enqueue(0, stream);  // loads the kernel
    check(cudaStreamSynchronize(stream));
    const double us = median_microseconds(stream, std::max(kMinCalls, op.num_sets),
                                          [&](int i) { op.enqueue(i % op.num_sets, stream); });
    const double copy_us = time_copy(op, &memory, stream);
    std::printf("%-30s %10.2f %10.2f %8.0f %10.2f %6.0f%%\n", named.name.c_str(), us,
                op.bytes * 1e-6, op.bytes / us * 1e-3, copy_us, 100.0 * copy_us / us);
    std::fflush(stdout);
    results.push_back(
        {{"operation", named.name}, {"us", us}, {"bytes", op.bytes}, {"copy_us", copy_us}});
  }
  return results;
}

nlohmann::json run_workloads(const Options& options, cudaStream_t stream) {
  std::printf("roof = max(bytes / %.2f TB/s, flops / %.0f TFLOP/s) + %.1f us\n",
              options.terabytes_per_second, options.teraflops, kFixedMicroseconds);
  std::printf("%-30s %10s %7s %8s %9s %6s %8s %17s\n", "workload", "us", "TB/s", "TFLOP/s",
              "roof us", "% roof", "plan us", "host us (+ plan)");
  nlohmann::json results = nlohmann::json::array();
  for (const Workload& w : load_workloads(options.workloads, options.kv_dtype)) {
    if (w.name.find(options.only) == std::string::npos) continue;
    const Result result = time_workload(w, stream);
    const double roof_us =
        std::max(w.bytes() / options.terabytes_per_second, w.flops() / options.teraflops) * 1e-6 +
        kFixedMicroseconds;
    std::printf("%-30s %10.1f %7.2f %8.1f %9.1f %5.0f%% %8.1f %8.2f + %6.2f\n", w.name.c_str(),
                result.attention_us, w.bytes() / result.attention_us * 1e-6,
                w.flops() / result.attention_us * 1e-6, roof_us,
                100.0 * roof_us / result.attention_us, result.plan_us, result.attention_host_us,
                result.plan_host_us);
    std::fflush(stdout);
    results.push_back({{"workload", w.name},
                       {"attention_us", result.attention_us},
                       {"plan_us", result.plan_us},
                       {"attention_host_us", result.attention_host_us},
                       {"plan_host_us", result.plan_host_us},
                       {"roof_us", roof_us}});
  }
  return results;
}

void run(const Options& options) {
  cudaDeviceProp device;
  check(cudaGetDeviceProperties(&device, 0));
  std::printf("%s\n", device.name);
  cudaStream_t stream;
  check(cudaStreamCreate(&stream));
  const nlohmann::json report = {
      {"device", device.name},
      {"results", options.ops ? run_ops(options, stream) : run_workloads(options, stream)}};
  check(cudaStreamDestroy(stream));
  if (!options.json.empty()) std::ofstream(options.json) << report.dump(2) << "\n";
}

}  // namespace
}  // namespace pagoda::bench

int main(int argc, char** argv) {
  pagoda::bench::Options options;
  CLI::App app{"Times the CUDA backend in captured graphs, with cold caches."};
  app.add_option("--workloads", options.workloads, "the list")->capture_default_str();
  const std::map<std::string, pagoda::DType> kv_dtypes{{"bf16", pagoda::DType::kBFloat16},
                                                       {"e4m3", pagoda::DType::kFloat8E4M3},
                                                       {"e5m2", pagoda::DType::kFloat8E5M2},
                                                       {"int8", pagoda::DType::kInt8}};
  app.add_option("--kv-dtype", options.kv_dtype, "type of K and V; int8 has scales per token")
      ->transform(CLI::CheckedTransformer(kv_dtypes))
      ->default_str("bf16");
  app.add_option("--only", options.only, "only workloads or operations whose name holds this");
  app.add_flag("--ops", options.ops, "time the KV-cache operations, not attention");
  app.add_option("--json", options.json, "write the results to this file too");
  app.add_option("--tbs", options.terabytes_per_second, "measured read bandwidth, TB/s")
      ->capture_default_str();
  app.add_option("--tflops", options.teraflops, "measured matrix rate, TFLOP/s")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    pagoda::bench::run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gpu_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
