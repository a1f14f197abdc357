#include "report.h"

#include <fmt/format.h>

namespace pagoda::micro {

void Report::add(const std::string& bench, const Settings& settings, double value,
                 const std::string& unit) {
  std::string line = fmt::format("{:12}", bench);
  tools::Json row = {{"bench", bench}};
  for (const auto& [name, setting] : settings) {
    line += fmt::format(" {:<18}", fmt::format("{} {}", name, setting));
    row[name] = setting;
  }
  row["value"] = value;
  row["unit"] = unit;
  output_->print(fmt::format("{:<88} {:10.3f} {}\n", line, value, unit));
  rows_.push_back(std::move(row));
}

void Report::write(tools::Json head) const {
  head["results"] = rows_;
  output_->write(head);
}

}  // namespace pagoda::micro
