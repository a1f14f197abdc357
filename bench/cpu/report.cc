#include "report.h"

#include <fmt/format.h>

namespace pagoda::micro {

void Report::add(const std::string& bench, const Settings& settings, const Value& value) {
  std::string line = fmt::format("{:12}", bench);
  tools::Json row = {{"bench", bench}};
  for (const auto& [name, setting] : settings) {
    line += fmt::format(" {:<18}", fmt::format("{} {}", name, setting));
    row[name] = setting;
  }
  row["value"] = value.value;
  row["unit"] = value.unit;
  row["cpu_share"] = value.cpu_share;
  // The start of threads takes some percent by itself.
  const std::string busy = value.cpu_share < 0.9
                               ? fmt::format("  had {:.0f} % of its CPUs", 100.0 * value.cpu_share)
                               : "";
  output_->print(fmt::format("{:<88} {:10.3f} {}{}\n", line, value.value, value.unit, busy));
  rows_.push_back(std::move(row));
}

void Report::write(tools::Json head) const {
  head["results"] = rows_;
  output_->write(head);
}

}  // namespace pagoda::micro
