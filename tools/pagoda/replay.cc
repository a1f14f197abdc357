// pagoda replay: a serving trace through one attention layer, step by step.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ceilings_option.h"
#include "commands.h"
#include "error.h"
#include "execution.h"
#include "geometry.h"
#include "json_output.h"
#include "progress.h"
#include "replay_layer.h"
#include "replay_report.h"
#include "scheduler.h"
#include "timing.h"
#include "trace.h"
#include "units.h"

namespace pagoda::tools {
namespace {

constexpr int32_t kVerifiedSeqs = 2;  // of a verified step

struct ReplayOptions {
  std::string trace;
  size_t num_requests = 96;
  double max_seconds = 60.0;
  SchedulerLimits limits;
  int64_t cache_tokens = 65536;
  int64_t verify_every = 100;  // steps; 0 = none
  uint64_t seed = 1;
  Geometry geometry;
  CeilingsOption ceilings;
  Output results;
};

std::vector<Request> wanted_requests(const ReplayOptions& options) {
  return options.trace.empty() ? make_trace(options.num_requests, options.seed)
                               : read_trace(options.trace, options.num_requests);
}

// What is going to be done, in words.
std::string introduction(const ReplayOptions& options, const std::vector<Request>& requests) {
  int64_t context = 0;
  int64_t generated = 0;
  for (const Request& request : requests) {
    context += request.context_tokens;
    generated += request.generated_tokens;
  }
  const std::string source =
      options.trace.empty()
          ? fmt::format("made up (prompts {}; answers {}; seed {})", describe(kContextLengths),
                        describe(kGeneratedLengths), options.seed)
          : "from " + options.trace;
  return fmt::format(
      "Replaying {} requests {}:\n{} prompt tokens, {} generated, all waiting from the start.\n"
      "One layer: {}.\n"
      "Each step: at most {} new tokens of {} sequences, cache of {} pages ({}).\n\n",
      format_count(static_cast<int64_t>(requests.size())), source, format_count(context),
      format_count(generated), describe(options.geometry), options.limits.token_budget,
      options.limits.max_seqs, format_count(options.limits.num_pages),
      format_bytes(static_cast<double>(options.limits.num_pages) * options.limits.page_size *
                   static_cast<double>(options.geometry.kv_bytes_per_token())));
}

// The first step of each kind and every so many after it are verified.
class VerificationPlan {
 public:
  explicit VerificationPlan(int64_t every) : every_(every) {}

  bool wants(BatchKind kind) {
    return every_ > 0 && num_steps_[static_cast<int>(kind)]++ % every_ == 0;
  }

 private:
  int64_t every_;
  int64_t num_steps_[kNumBatchKinds] = {};
};

void run_steps(const ReplayOptions& options, std::vector<Request> requests, ReplayReport* report) {
  int32_t max_seqlen_k = 1;
  for (const Request& request : requests) {
    max_seqlen_k = std::max(max_seqlen_k, request.cached_tokens());
  }
  Scheduler scheduler(options.limits, std::move(requests));
  ReplayLayer layer(options.geometry, options.limits, max_seqlen_k, options.seed);
  VerificationPlan verification(options.verify_every);
  ProgressLine progress;
  const Stopwatch stopwatch;
  while (!scheduler.done() && stopwatch.seconds() < options.max_seconds) {
    const Step& step = scheduler.next_step();
    report->steps.push_back(layer.run(step));
    report->peak_pages = std::max(report->peak_pages, scheduler.pages_in_use());
    if (verification.wants(step.kind)) {
      ++report->num_verified_steps;
      report->num_verified_tokens += layer.verify(kVerifiedSeqs, &report->failures);
    }
    if (progress.is_due()) {
      progress.show(
          fmt::format("step {} ({}), {} running, {} of {} requests finished, {} of {} "
                      "pages in use",
                      report->steps.size(), name_of(step.kind), scheduler.num_running(),
                      scheduler.num_finished(), report->num_requests, scheduler.pages_in_use(),
                      options.limits.num_pages));
    }
    scheduler.finish_step();
  }
  report->elapsed_seconds = stopwatch.seconds();
  report->num_finished = scheduler.num_finished();
}

bool replay(ReplayOptions& options) {
  SchedulerLimits& limits = options.limits;
  if (limits.max_seqs > limits.token_budget) {
    throw BadInput(
        fmt::format("--max-seqs: got {}, wants at most --token-budget {}: each "
                    "sequence decodes a token per step",
                    limits.max_seqs, limits.token_budget));
  }
  limits.page_size = options.geometry.page_size;
  limits.num_pages = options.geometry.num_pages(options.cache_tokens);
  std::vector<Request> requests = wanted_requests(options);
  ReplayReport report;
  report.num_requests = static_cast<int64_t>(requests.size());
  report.num_pages = limits.num_pages;
  options.results.print(introduction(options, requests));
  report.ceilings = options.ceilings.now();
  run_steps(options, std::move(requests), &report);
  report.ceilings = higher(report.ceilings, options.ceilings.now());
  options.results.print(describe(report));
  if (report.num_finished < report.num_requests) {
    options.results.print(
        fmt::format("Stopped after {} (--max-seconds).\n", format_seconds(report.elapsed_seconds)));
  }
  Json json = {{"version", PAGODA_VERSION},
               {"geometry", to_json(options.geometry)},
               {"token_budget", limits.token_budget},
               {"max_seqs", limits.max_seqs},
               {"seed", options.seed}};
  json.update(to_json(report));
  options.results.write(json);
  return report.failures.empty();
}

}  // namespace

void add_replay_command(CLI::App* app, int* exit_code) {
  CLI::App* command = app->add_subcommand("replay", "Replay a serving trace through one layer");
  const auto options = std::make_shared<ReplayOptions>();
  command
      ->add_option("--trace", options->trace,
                   "Columns TIMESTAMP, ContextTokens, GeneratedTokens; without it, requests "
                   "of random lengths are made up")
      ->option_text("FILE.csv");
  command->add_option("--requests", options->num_requests, "At most so many, in the file's order")
      ->check(CLI::Range(1, 1 << 24))
      ->option_text("N=96");
  command->add_option("--max-seconds", options->max_seconds, "Stop early after so long")
      ->check(CLI::Range(0.1, 1e6))
      ->option_text("S=60");
  command->add_option("--token-budget", options->limits.token_budget, "New tokens of a step")
      ->check(CLI::Range(1, 1 << 20))
      ->option_text("N=512");
  command->add_option("--max-seqs", options->limits.max_seqs, "Sequences at a time")
      ->check(CLI::Range(1, 1 << 16))
      ->option_text("N=32");
  command->add_option("--cache-tokens", options->cache_tokens, "Tokens that the pages hold")
      ->check(CLI::Range(1, 1 << 30))
      ->option_text("N=65536");
  command
      ->add_option("--verify-every", options->verify_every,
                   "Verify every N-th step of a kind against the oracle; 0 = none")
      ->check(CLI::Range(0, 1 << 30))
      ->option_text("N=100");
  add_geometry_options(command, &options->geometry);
  command->add_option("--seed", options->seed, "Of lengths and data")->option_text("N=1");
  options->ceilings.add_option(command);
  add_threads_option(command);
  options->results.add_option(command);
  command->footer(
      "Exit status 1 if a verified step is wrong.\n"
      "Example:\n  pagoda replay --trace requests.csv --requests 500 --page-size 32");
  command->callback([options, exit_code] {
    if (!replay(*options)) *exit_code = kExitCheckFailed;
  });
}

}  // namespace pagoda::tools
