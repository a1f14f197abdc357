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

  // Those given, else as they are now.
  Ceilings now();

 private:
  std::optional<Ceilings> given_;
  std::optional<CeilingMeter> meter_;  // made when it is first needed
};

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_CEILINGS_OPTION_H_
