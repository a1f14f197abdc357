// How the command fails, and what it says to its caller.
#ifndef PAGODA_TOOLS_PAGODA_ERROR_H_
#define PAGODA_TOOLS_PAGODA_ERROR_H_

#include <stdexcept>
#include <string>

#include "pagoda/status.h"

namespace pagoda::tools {

enum ExitCode : int {
  kExitOk = 0,
  kExitCheckFailed = 1,  // a result is not what the oracle says
  kExitBadInput = 2,     // wrong usage, a malformed file, or a problem that cannot be computed
};

// Reported by main() as "pagoda: message", with kExitBadInput.
class BadInput : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void require_ok(const Status& status) {
  if (!status.ok()) throw BadInput(status.message());
}

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_ERROR_H_
