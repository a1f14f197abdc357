// --ceilings, of the commands that compare times with the roof.
#ifndef PAGODA_TOOLS_PAGODA_CEILINGS_OPTION_H_
#define PAGODA_TOOLS_PAGODA_CEILINGS_OPTION_H_

#include <optional>

#include "ceilings.h"

namespace CLI {
class App;
}  // namespace CLI

namespace pagoda::tools {

class CeilingsOption {
 public:
  void add_option(CLI::App* command);

  // Those given, else measured.
  Ceilings get() const;

 private:
  std::optional<Ceilings> given_;
};

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_CEILINGS_OPTION_H_
