#include "progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace pagoda::tools {
namespace {

constexpr double kTerminalCadence = 0.2;  // seconds
constexpr double kLogCadence = 5.0;

}  // namespace

ProgressLine::ProgressLine()
    : is_terminal_(isatty(STDERR_FILENO) == 1),
      next_seconds_(is_terminal_ ? kTerminalCadence : kLogCadence) {}

ProgressLine::~ProgressLine() {
  if (is_terminal_ && shown_length_ > 0) fmt::print(stderr, "\r{:{}}\r", "", shown_length_);
}

bool ProgressLine::is_due() const {
  return stopwatch_.seconds() >= next_seconds_;
}

void ProgressLine::show(const std::string& text) {
  next_seconds_ = stopwatch_.seconds() + (is_terminal_ ? kTerminalCadence : kLogCadence);
  if (is_terminal_) {
    fmt::print(stderr, "\r{:<{}}", text, shown_length_);
    shown_length_ = std::max(shown_length_, text.size());
    std::fflush(stderr);
  } else {
    fmt::print(stderr, "{}\n", text);
  }
}

}  // namespace pagoda::tools
