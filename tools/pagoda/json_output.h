// --json [FILE.json], which every subcommand has.
#ifndef PAGODA_TOOLS_PAGODA_JSON_OUTPUT_H_
#define PAGODA_TOOLS_PAGODA_JSON_OUTPUT_H_

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace pagoda::tools {

using Json = nlohmann::ordered_json;

// Without --json: text to stdout. With --json FILE.json: the JSON to that file beside it. With
// --json alone: JSON to stdout in place of the text.
class Output {
 public:
  void add_option(CLI::App* command);

  // Text for people.
  void print(const std::string& text) const;
  void write(const Json& json) const;

 private:
  CLI::Option* option_ = nullptr;
  std::string file_;
};

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_JSON_OUTPUT_H_
