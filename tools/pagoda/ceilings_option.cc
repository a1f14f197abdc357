#include "ceilings_option.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <string_view>

#include "execution.h"

namespace pagoda::tools {
namespace {

bool parse_rate(std::string_view text, double* value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *value);
  return error == std::errc() && stop == end && std::isfinite(*value) && *value > 0.0;
}

Ceilings parse_ceilings(const std::string& text) {
  const size_t slash = text.find('/');
  double gigabytes = 0.0;
  double teraflops = 0.0;
  if (slash == std::string::npos ||
      !parse_rate(std::string_view(text).substr(0, slash), &gigabytes) ||
      !parse_rate(std::string_view(text).substr(slash + 1), &teraflops)) {
    throw CLI::ValidationError("--ceilings",
                               fmt::format("got {}, wants GB/s / TFLOP/s, as in 40/0.25", text));
  }
  return {.read_bytes_per_second = gigabytes * 1e9,
          .flops_per_second = teraflops * 1e12,
          .vector_isa = "as given"};
}

}  // namespace

void CeilingsOption::add_option(CLI::App* command) {
  command
      ->add_option_function<std::string>(
          "--ceilings", [this](const std::string& text) { given_ = parse_ceilings(text); },
          "GB/s and TFLOP/s to compare with; measured beside the batches if not given")
      ->option_text("READ/COMPUTE");
}

Ceilings CeilingsOption::now() {
  if (given_.has_value()) {
    given_->num_threads = num_threads();
    return *given_;
  }
  if (!meter_.has_value()) meter_.emplace(num_threads());
  return meter_->measure();
}

}  // namespace pagoda::tools
