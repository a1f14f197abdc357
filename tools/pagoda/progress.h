// A line on stderr that says how far a long job is.
#ifndef PAGODA_TOOLS_PAGODA_PROGRESS_H_
#define PAGODA_TOOLS_PAGODA_PROGRESS_H_

#include <string>

#include "timing.h"

namespace pagoda::tools {

// On a terminal the line is rewritten in place a few times a second and wiped at the end;
// elsewhere, as in a log file, a new line is written every few seconds.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  bool is_due() const;
  void show(const std::string& text);

 private:
  bool is_terminal_;
  double next_seconds_;
  size_t shown_length_ = 0;
  Stopwatch stopwatch_;
};

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_PROGRESS_H_
