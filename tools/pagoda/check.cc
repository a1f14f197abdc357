// pagoda check: the library against the double-precision oracle.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cases.h"
#include "commands.h"
#include "compare.h"
#include "compute.h"
#include "error.h"
#include "execution.h"
#include "json_output.h"
#include "problem_file.h"
#include "progress.h"
#include "table.h"
#include "timing.h"
#include "units.h"

namespace pagoda::tools {
namespace {

struct CheckOptions {
  std::vector<std::string> files;
  std::vector<std::string> lines;
  std::string grid;
  int32_t count = 100;
  uint32_t seed = 1;
  int64_t num_tokens = 64;
  Output results;
};

// One problem's verdict.
struct Outcome {
  std::string name;  // the case line, or the file
  bool ok = false;
  double max_error = 0.0;
  double max_error_allowed = 0.0;
  std::string message;
};

Outcome check_case(const testing::Case& spec) {
  testing::BuiltCase built(spec);
  built.poison_outputs();
  compute(built.problem());
  const testing::Verdict verdict = testing::verify(built);
  return {testing::to_line(spec), verdict.ok, verdict.max_error, verdict.max_error_allowed,
          verdict.message};
}

Outcome check_file(const std::string& path, int64_t num_tokens) {
  const ProblemFile file(path);
  compute(file.problem());
  const Comparison comparison =
      compare_with_oracle(file.problem(), spread_tokens(file.problem().q.shape[0], num_tokens));
  return {path, comparison.ok, comparison.max_error, comparison.max_error_allowed,
          comparison.message};
}

testing::Case parse_line(const std::string& line) {
  testing::Case spec;
  std::string error;
  if (!testing::parse_case(line, &spec, &error)) {
    throw BadInput(fmt::format("--case \"{}\": {}", line, error));
  }
  return spec;
}

std::vector<std::string> grid_names() {
  std::vector<std::string> names;
  for (const testing::Grid& grid : testing::all_grids(0, 0)) names.push_back(grid.name);
  return names;
}

// The cases that the options name; the edge cases if they name nothing at all.
std::vector<testing::Case> wanted_cases(const CheckOptions& options) {
  std::vector<testing::Case> cases;
  for (const std::string& line : options.lines) cases.push_back(parse_line(line));
  const bool nothing_named = options.files.empty() && options.lines.empty();
  const std::string grid = options.grid.empty() && nothing_named ? "edge" : options.grid;
  for (testing::Grid& there : testing::all_grids(options.count, options.seed)) {
    if (there.name != grid) continue;
    cases.insert(cases.end(), there.cases.begin(), there.cases.end());
  }
  return cases;
}

Json to_json(const Outcome& outcome) {
  return {{"name", outcome.name},
          {"ok", outcome.ok},
          {"max_error", outcome.max_error},
          {"max_error_allowed", outcome.max_error_allowed},
          {"message", outcome.message}};
}

// A few problems one by one, many only if they fail.
std::string describe(const std::vector<Outcome>& outcomes) {
  constexpr size_t kFew = 20;
  Table table({"problem", "max error", "allowed", "verdict"});
  std::string failures;
  bool any_row = false;
  for (const Outcome& outcome : outcomes) {
    if (!outcome.ok) failures += fmt::format("FAILED {}\n  {}\n", outcome.name, outcome.message);
    if (outcome.ok && outcomes.size() > kFew) continue;
    any_row = true;
    table.add_row({outcome.name, fmt::format("{:.3g}", outcome.max_error),
                   fmt::format("{:.3g}", outcome.max_error_allowed), outcome.ok ? "ok" : "FAILED"});
  }
  return (any_row ? table.text() : "") + failures;
}

bool check(const CheckOptions& options) {
  const Stopwatch stopwatch;
  const std::vector<testing::Case> cases = wanted_cases(options);
  std::vector<Outcome> outcomes;
  int64_t num_failed = 0;
  {
    ProgressLine progress;
    const auto record = [&](Outcome outcome) {
      num_failed += outcome.ok ? 0 : 1;
      outcomes.push_back(std::move(outcome));
      if (!progress.is_due()) return;
      progress.show(fmt::format("checked {} of {}, {} failed", outcomes.size(),
                                cases.size() + options.files.size(), num_failed));
    };
    for (const std::string& file : options.files) record(check_file(file, options.num_tokens));
    for (const testing::Case& spec : cases) record(check_case(spec));
  }
  options.results.print(
      describe(outcomes) +
      fmt::format("{} of {} agree with the oracle ({})\n",
                  format_count(static_cast<int64_t>(outcomes.size()) - num_failed),
                  format_count(static_cast<int64_t>(outcomes.size())),
                  format_seconds(stopwatch.seconds())));
  Json json = {{"num_checked", outcomes.size()}, {"num_failed", num_failed}};
  for (const Outcome& outcome : outcomes) json["problems"].push_back(to_json(outcome));
  options.results.write(json);
  return num_failed == 0;
}

}  // namespace

void add_check_command(CLI::App* app, int* exit_code) {
  CLI::App* command =
      app->add_subcommand("check", "Compare results with the double-precision oracle");
  const auto options = std::make_shared<CheckOptions>();
  command->add_option("FILE", options->files, "Problems in safetensors files, as for `pagoda run`");
  command->add_option("--case", options->lines, "A case line, as a failing test prints it")
      ->option_text("LINE")
      ->take_all()
      ->expected(1);
  command
      ->add_option("--grid", options->grid,
                   "edge (the default if nothing else is given), vllm, "
                   "flash_attention, feature, once_wrong or random")
      ->check(CLI::IsMember(grid_names()))
      ->option_text("NAME");
  command->add_option("--count", options->count, "Cases of the random grid")
      ->check(CLI::Range(1, 1'000'000))
      ->option_text("N=100");
  command->add_option("--seed", options->seed, "Of the random grid")->option_text("N=1");
  command->add_option("--tokens", options->num_tokens, "Query tokens of a file that are compared")
      ->check(CLI::Range(1, 1 << 30))
      ->option_text("N=64");
  add_threads_option(command);
  options->results.add_option(command);
  command->footer(
      "Exit status 1 if anything differs.\n"
      "Example:\n  pagoda check --case \"seqs=5x18,1x1328 heads=8/2 d=128 page=16\"");
  command->callback([options, exit_code] {
    if (!check(*options)) *exit_code = kExitCheckFailed;
  });
}

}  // namespace pagoda::tools
