// Times the CUDA backend on bench/workloads.json: graph replay, rotating inputs (cold L2), random
// data, shuffled pages, median; planning apart.
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
  // Measured ceilings of one H200; other cards have others.
  double terabytes_per_second = 4.45;
  double teraflops = 740.0;
};

// The least that a kernel takes: an empty one in a graph, and the latency of its first bytes.
constexpr double kFixedMicroseconds = 1.5;
constexpr int kMinCalls = 24;

void require(const Status& status) {
  if (!status.ok()) throw std::runtime_error(status.message());
}

struct Result {
  double attention_us;
  double plan_us;
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
  return {median_microseconds(stream, calls, attend_copy),
          median_microseconds(stream, calls, plan_copy)};
}

void run(const Options& options) {
  cudaDeviceProp device;
  check(cudaGetDeviceProperties(&device, 0));
  std::printf("%s; roof = max(bytes / %.2f TB/s, flops / %.0f TFLOP/s) + %.1f us\n", device.name,
              options.terabytes_per_second, options.teraflops, kFixedMicroseconds);
  std::printf("%-30s %10s %7s %8s %9s %6s %8s\n", "workload", "us", "TB/s", "TFLOP/s", "roof us",
              "% roof", "plan us");
  cudaStream_t stream;
  check(cudaStreamCreate(&stream));
  nlohmann::json report = {{"device", device.name}, {"results", nlohmann::json::array()}};
  for (const Workload& w : load_workloads(options.workloads, options.kv_dtype)) {
    if (w.name.find(options.only) == std::string::npos) continue;
    const Result result = time_workload(w, stream);
    const double roof_us =
        std::max(w.bytes() / options.terabytes_per_second, w.flops() / options.teraflops) * 1e-6 +
        kFixedMicroseconds;
    std::printf("%-30s %10.1f %7.2f %8.1f %9.1f %5.0f%% %8.1f\n", w.name.c_str(),
                result.attention_us, w.bytes() / result.attention_us * 1e-6,
                w.flops() / result.attention_us * 1e-6, roof_us,
                100.0 * roof_us / result.attention_us, result.plan_us);
    std::fflush(stdout);
    report["results"].push_back({{"workload", w.name},
                                 {"attention_us", result.attention_us},
                                 {"plan_us", result.plan_us},
                                 {"roof_us", roof_us}});
  }
  check(cudaStreamDestroy(stream));
  if (!options.json.empty()) std::ofstream(options.json) << report.dump(2) << "\n";
}

}  // namespace
}  // namespace pagoda::bench

int main(int argc, char** argv) {
  pagoda::bench::Options options;
  CLI::App app{"Times the CUDA backend in captured graphs, with cold caches."};
  app.add_option("--workloads", options.workloads, "the list")->capture_default_str();
  app.add_option("--only", options.only, "only workloads whose name holds this");
  const std::map<std::string, pagoda::DType> kv_dtypes{{"bf16", pagoda::DType::kBFloat16},
                                                       {"e4m3", pagoda::DType::kFloat8E4M3},
                                                       {"e5m2", pagoda::DType::kFloat8E5M2},
                                                       {"int8", pagoda::DType::kInt8}};
  app.add_option("--kv-dtype", options.kv_dtype, "type of K and V; int8 has scales per token")
      ->transform(CLI::CheckedTransformer(kv_dtypes))
      ->default_str("bf16");
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
