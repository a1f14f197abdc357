// The `pagoda` command.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>
#include <string>

#include "commands.h"
#include "error.h"

namespace {

pagoda::tools::BadInput wrong_subcommand(const CLI::App& app, const std::string& got) {
  std::string names;
  for (const CLI::App* subcommand : app.get_subcommands({})) {
    names += (names.empty() ? "" : ", ") + subcommand->get_name();
  }
  return pagoda::tools::BadInput(
      fmt::format("subcommand: got {}, wants one of {}; --help says more", got, names));
}

int run(int argc, char** argv) {
  CLI::App app{"Paged attention for a whole LLM serving step in one call", "pagoda"};
  app.set_version_flag("--version", "pagoda " PAGODA_VERSION);
  app.require_subcommand(0, 1);
  app.get_formatter()->column_width(32);
  app.footer("pagoda SUBCOMMAND --help has the options and an example of each.");
  int exit_code = pagoda::tools::kExitOk;
  pagoda::tools::add_info_command(&app);
  pagoda::tools::add_check_command(&app, &exit_code);
  pagoda::tools::add_run_command(&app);
  pagoda::tools::add_bench_command(&app);
  pagoda::tools::add_replay_command(&app, &exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ExtrasError& error) {
    if (app.get_subcommands().empty()) throw wrong_subcommand(app, argv[1]);
    app.exit(error);
    return pagoda::tools::kExitBadInput;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? pagoda::tools::kExitOk : pagoda::tools::kExitBadInput;
  }
  if (app.get_subcommands().empty()) throw wrong_subcommand(app, "none");
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "pagoda: {}\n", error.what());
    return pagoda::tools::kExitBadInput;
  }
}
