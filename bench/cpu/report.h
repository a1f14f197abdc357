// What the micro-benchmarks report to: a table for people, JSON for programs.
#ifndef PAGODA_BENCH_CPU_REPORT_H_
#define PAGODA_BENCH_CPU_REPORT_H_

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "json_output.h"

namespace pagoda::micro {

// Settings of a measurement, in the order in which they are printed.
using Settings = std::vector<std::pair<std::string, std::string>>;

class Report {
 public:
  explicit Report(const tools::Output* output) : output_(output) {}

  // Prints a row as soon as it is measured.
  void add(const std::string& bench, const Settings& settings, double value,
           const std::string& unit);
  void write(tools::Json head) const;

 private:
  const tools::Output* output_;
  tools::Json rows_;
};

}  // namespace pagoda::micro

#endif  // PAGODA_BENCH_CPU_REPORT_H_
