// Measures what the CPU kernels' design rests on: peaks of arithmetic, rates at which memory and
// pages are read, and what a parallel loop costs.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "error.h"
#include "execution.h"
#include "micro.h"
#include "rates.h"

namespace pagoda::micro {
namespace {

void run_compute(const MicroOptions& options, Report* report) {
  const auto add = [&](const char* arithmetic, const tools::FmaChains& chains) {
    for_each_thread_count(options.max_threads, [&](int32_t num_threads) {
      const tools::Rate rate = tools::flops_per_second(chains, num_threads, options.min_seconds);
      report->add("compute",
                  {{"arithmetic", arithmetic},
                   {"isa", chains.isa},
                   {"threads", std::to_string(num_threads)}},
                  {rate.per_second / 1e12, "TFLOP/s", rate.cpu_share});
    });
  };
  add("f32", tools::widest_fma_chains());
  if (tools::bf16_dot_chains() != nullptr) add("bf16", *tools::bf16_dot_chains());
}

void run_stream_read(const MicroOptions& options, Report* report) {
  for (const auto huge : {tools::HugePages::kAdvised, tools::HugePages::kForbidden}) {
    const tools::SequentialRead memory(huge);
    for_each_thread_count(options.max_threads, [&](int32_t num_threads) {
      const tools::Rate rate = memory.bytes_per_second(num_threads, options.min_seconds);
      report->add("stream_read",
                  {{"memory", huge == tools::HugePages::kAdvised ? "2 MB" : "4 KB"},
                   {"threads", std::to_string(num_threads)}},
                  {rate.per_second / 1e9, "GB/s", rate.cpu_share});
    });
  }
}

struct Bench {
  const char* name;
  void (*run)(const MicroOptions&, Report*);
};
constexpr Bench kBenches[] = {{"compute", run_compute},
                              {"stream_read", run_stream_read},
                              {"page_read", run_page_read},
                              {"fork_join", run_fork_join}};

void run(const std::vector<std::string>& chosen, MicroOptions options,
         const tools::Output& output) {
  options.max_threads = tools::num_threads();
  Report report(&output);
  for (const Bench& bench : kBenches) {
    const bool is_chosen = std::find(chosen.begin(), chosen.end(), bench.name) != chosen.end();
    if (chosen.empty() || is_chosen) bench.run(options, &report);
  }
  report.write({{"version", PAGODA_VERSION}, {"max_threads", options.max_threads}});
}

}  // namespace
}  // namespace pagoda::micro

int main(int argc, char** argv) {
  namespace micro = pagoda::micro;
  CLI::App app(
      "What this CPU can do at best: arithmetic, reads of memory and of pages, and the cost "
      "of a parallel loop. The fastest pass of each counts.");
  app.name("cpu_micro");
  micro::MicroOptions options;
  pagoda::tools::Output output;
  std::vector<std::string> chosen;
  std::vector<std::string> names;
  for (const micro::Bench& bench : micro::kBenches) names.emplace_back(bench.name);
  app.add_option("BENCH", chosen, fmt::format("{}; all if none is named", fmt::join(names, ", ")))
      ->check(CLI::IsMember(names));
  app.add_option("--min-time", options.min_seconds, "Seconds of each measurement")
      ->check(CLI::Range(0.0, 60.0))
      ->option_text("S=0.2");
  app.add_option("--megabytes", options.megabytes, "Of pages that are read")
      ->check(CLI::Range(1, 1 << 20))
      ->option_text("N=1024");
  pagoda::tools::add_threads_option(&app);
  output.add_option(&app);
  app.footer(
      "Rates are those of 1, 2, 4, ... threads up to --threads.\n"
      "Example:\n  cpu_micro page_read --threads 2 --json pages.json");
  CLI11_PARSE(app, argc, argv);
  try {
    micro::run(chosen, options, output);
  } catch (const pagoda::tools::BadInput& error) {
    std::fprintf(stderr, "cpu_micro: %s\n", error.what());
    return pagoda::tools::kExitBadInput;
  }
  return 0;
}
