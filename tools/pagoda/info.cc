// pagoda info: what this build has, and what this machine can do.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "ceilings.h"
#include "commands.h"
#include "compute.h"
#include "execution.h"
#include "json_output.h"
#include "owned_tensor.h"
#include "paged_cache.h"
#include "table.h"
#include "units.h"

namespace pagoda::tools {
namespace {

// The value of the first line "key ... separator value" of a file; empty if there is none.
std::string value_in_file(const std::filesystem::path& path, const std::string& key,
                          char separator) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t begin = line.find_first_not_of(" \t", line.find(separator) + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

std::string processor_name() {
  const std::string name = value_in_file("/proc/cpuinfo", "model name", ':');
  return name.empty() ? "unknown" : name;
}

// As the NVIDIA driver names them.
std::vector<std::string> gpu_names() {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& gpu : std::filesystem::directory_iterator("/proc/driver/nvidia/gpus", none)) {
    names.push_back(value_in_file(gpu.path() / "information", "Model", ':'));
  }
  return names;
}

std::string join(const std::vector<std::string>& words, const std::string& if_empty) {
  std::string text;
  for (const std::string& word : words) text.append(text.empty() ? "" : ", ").append(word);
  return text.empty() ? if_empty : text;
}

// Planned for one sequence with one new token: the first word of the kernel is the ISA.
std::string chosen_isa() {
  Geometry geometry;
  const PagedCache cache(geometry, 1);
  AttentionProblem problem = make_problem(geometry, cache);
  const OwnedTensor q =
      make_dense_tensor(geometry.q_dtype, {1, geometry.num_q_heads, geometry.head_dim});
  problem.q = q.view;
  const OwnedTensor out =
      make_dense_tensor(geometry.out_dtype(), {1, geometry.num_q_heads, geometry.head_dim});
  problem.out = out.view;
  Batch batch(1, 1);
  batch.add(1, 1, std::vector<int32_t>{0});
  batch.attach_to(&problem);
  const std::string kernel = compute(problem).explanation.kernel;
  return kernel.substr(0, kernel.find(' '));
}

// Whether the library computes on a GPU here, by its own word.
Status cuda_status() {
  const AttentionLimits limits{.device = {DeviceType::kCuda, 0},
                               .max_num_tokens = 1,
                               .max_num_seqs = 1,
                               .max_seqlen_k = 1,
                               .num_q_heads = 1,
                               .num_kv_heads = 1,
                               .head_dim = 64};
  size_t bytes = 0;
  return workspace_size(limits, &bytes);
}

void info(bool measure, const Output& results) {
  const std::string isa = chosen_isa();
  const Status cuda = cuda_status();
  const std::vector<std::string> gpus = gpu_names();
  Facts facts;
  facts.add("pagoda", PAGODA_VERSION);
  facts.add("processor",
            fmt::format("{}, {} CPUs", processor_name(), std::thread::hardware_concurrency()));
  facts.add("memory", fmt::format("{}, last-level cache {}",
                                  format_bytes(static_cast<double>(physical_memory_bytes())),
                                  format_bytes(static_cast<double>(last_level_cache_bytes()))));
  facts.add("instruction set", isa + " (PAGODA_CPU_ISA chooses another)");
  facts.add("threads", fmt::format("{} (PAGODA_NUM_THREADS or --threads)", num_threads()));
  facts.add("GPU", join(gpus, "none"));
  facts.add("CUDA backend", cuda.ok() ? "ready" : "no (" + cuda.message() + ")");
  Json json = {{"version", PAGODA_VERSION},
               {"processor", processor_name()},
               {"num_cpus", std::thread::hardware_concurrency()},
               {"memory_bytes", physical_memory_bytes()},
               {"last_level_cache_bytes", last_level_cache_bytes()},
               {"isa", isa},
               {"num_threads", num_threads()},
               {"gpus", gpus},
               {"cuda_backend", cuda.ok()}};
  if (measure) {
    const Ceilings ceilings = CeilingMeter(num_threads()).measure();
    facts.add("ceilings", describe(ceilings));
    json["ceilings"] = to_json(ceilings);
  }
  results.print(facts.text());
  results.write(json);
}

}  // namespace

void add_info_command(CLI::App* app) {
  CLI::App* command = app->add_subcommand("info", "What this build has and this machine can do");
  const auto results = std::make_shared<Output>();
  const auto no_ceilings = std::make_shared<bool>(false);
  command->add_flag("--no-ceilings", *no_ceilings, "Do not measure, which takes a second");
  add_threads_option(command);
  results->add_option(command);
  command->footer("Example:\n  pagoda info --json info.json");
  command->callback([results, no_ceilings] { info(!*no_ceilings, *results); });
}

}  // namespace pagoda::tools
