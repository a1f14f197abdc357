// Plain text tables with aligned columns.
#ifndef PAGODA_TOOLS_PAGODA_TABLE_H_
#define PAGODA_TOOLS_PAGODA_TABLE_H_

#include <string>
#include <vector>

namespace pagoda::tools {

class Table {
 public:
  // The first column is aligned to the left, the others to the right.
  explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}

  // As many cells as the header has.
  void add_row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// "name   value" lines, the values one below the other.
class Facts {
 public:
  void add(std::string name, std::string value) {
    facts_.push_back({std::move(name), std::move(value)});
  }

  std::string text() const;

 private:
  struct Fact {
    std::string name;
    std::string value;
  };
  std::vector<Fact> facts_;
};

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_TABLE_H_
