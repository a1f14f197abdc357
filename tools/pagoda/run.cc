// pagoda run: one problem from a file.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>

#include "commands.h"
#include "compute.h"
#include "error.h"
#include "execution.h"
#include "json_output.h"
#include "problem_file.h"
#include "table.h"
#include "units.h"

namespace pagoda::tools {
namespace {

struct RunOptions {
  std::string input;
  std::string output;
  Output results;
};

void run(const RunOptions& options) {
  std::error_code error;  // neither has to be there yet
  if (std::filesystem::equivalent(options.input, options.output, error)) {
    throw BadInput(
        fmt::format("--output: got {}, which is the input, wants another file", options.output));
  }
  const ProblemFile file(options.input);
  const AttentionProblem& problem = file.problem();
  const Computed computed = compute(problem);
  write_safetensors(options.output, {{"out", problem.out}, {"lse", problem.lse}}, {});

  Facts facts;
  facts.add("tokens", format_count(problem.q.shape[0]));
  facts.add("sequences", format_count(problem.seqused_k.shape[0]));
  facts.add("heads", fmt::format("{}/{}, head_dim {}", problem.q.shape[1],
                                 problem.kv.k_pages.shape[2], problem.q.shape[2]));
  facts.add("plan time", format_seconds(computed.plan_seconds));
  facts.add("attention time", format_seconds(computed.attention_seconds));
  facts.add("written", fmt::format("{}: out, lse", options.output));
  options.results.print(facts.text() + computed.explanation.text);
  options.results.write({{"num_tokens", problem.q.shape[0]},
                         {"num_seqs", problem.seqused_k.shape[0]},
                         {"backend", computed.explanation.backend},
                         {"kernel", computed.explanation.kernel},
                         {"num_workers", computed.explanation.num_workers},
                         {"num_items", computed.explanation.num_items},
                         {"num_splits", computed.explanation.num_splits},
                         {"kv_bytes", computed.explanation.kv_bytes},
                         {"flops", computed.explanation.flops},
                         {"plan_seconds", computed.plan_seconds},
                         {"attention_seconds", computed.attention_seconds}});
}

}  // namespace

void add_run_command(CLI::App* app) {
  CLI::App* command = app->add_subcommand("run", "Compute one problem from a safetensors file");
  const auto options = std::make_shared<RunOptions>();
  command->add_option("FILE", options->input, "Tensors by their API names, options as metadata")
      ->required();
  command->add_option("-o,--output", options->output, "Where out and lse are written")
      ->required()
      ->option_text("FILE");
  add_threads_option(command);
  options->results.add_option(command);
  command->footer(
      "Example:\n  pagoda run step.safetensors -o result.safetensors\n"
      "docs/cli.md lists the tensors and the metadata.");
  command->callback([options] { run(*options); });
}

}  // namespace pagoda::tools
