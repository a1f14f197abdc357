// The subcommands. Each function adds its own to `app`; run by the parser, a subcommand sets
// *exit_code or throws BadInput.
#ifndef PAGODA_TOOLS_PAGODA_COMMANDS_H_
#define PAGODA_TOOLS_PAGODA_COMMANDS_H_

namespace CLI {
class App;
}  // namespace CLI

namespace pagoda::tools {

void add_info_command(CLI::App* app);
void add_run_command(CLI::App* app);
void add_check_command(CLI::App* app, int* exit_code);
void add_bench_command(CLI::App* app);
void add_replay_command(CLI::App* app, int* exit_code);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_COMMANDS_H_
