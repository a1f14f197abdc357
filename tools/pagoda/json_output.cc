#include "json_output.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "error.h"

namespace pagoda::tools {

void Output::add_option(CLI::App* command) {
  option_ = command
                ->add_option("--json", file_,
                             "Write the results as JSON to FILE.json; without it (then the last "
                             "argument) to stdout, in place of the text")
                ->expected(0, 1)
                // Or "--json q512" would write a file and measure no batch.
                ->check([](const std::string& file) -> std::string {
                  if (file.ends_with(".json")) return "";
                  return fmt::format("got {}, wants FILE.json, or nothing after it", file);
                })
                ->option_text("[FILE.json]");
}

void Output::print(const std::string& text) const {
  if (option_->count() > 0 && file_.empty()) return;
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

void Output::write(const Json& json) const {
  if (option_->count() == 0) return;
  const std::string text = json.dump(2) + "\n";
  if (file_.empty()) {
    std::fputs(text.c_str(), stdout);
    return;
  }
  std::ofstream file(file_);
  file << text;
  file.close();
  if (!file) throw BadInput(fmt::format("--json: cannot write {}", file_));
}

}  // namespace pagoda::tools
