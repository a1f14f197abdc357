#include "table.h"

#include <fmt/format.h>

#include <algorithm>

namespace pagoda::tools {

std::string Table::text() const {
  std::vector<size_t> widths(rows_.front().size(), 0);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (size_t r = 0; r < rows_.size(); ++r) {
    text += fmt::format("{:<{}}", rows_[r][0], widths[0]);
    for (size_t i = 1; i < rows_[r].size(); ++i) {
      text += fmt::format("  {:>{}}", rows_[r][i], widths[i]);
    }
    text += '\n';
    if (r > 0) continue;
    for (size_t i = 0; i < widths.size(); ++i) {
      text += fmt::format("{}{:-<{}}", i == 0 ? "" : "  ", "", widths[i]);
    }
    text += '\n';
  }
  return text;
}

std::string Facts::text() const {
  size_t width = 0;
  for (const Fact& fact : facts_) width = std::max(width, fact.name.size());
  std::string text;
  for (const Fact& fact : facts_) {
    text += fmt::format("{:<{}}  {}\n", fact.name, width, fact.value);
  }
  return text;
}

}  // namespace pagoda::tools
