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

  struct Value {
    double value;
    std::string unit;
    double cpu_share = 1.0;  // of the threads' time; less if others wanted the CPUs too
  };
  // Prints a row as soon as it is measured.
  void add(const std::string& bench, const Settings& settings, const Value& value);
  void write(tools::Json head) const;

 private:
  const tools::Output* output_;
  tools::Json rows_;
};

}  // namespace pagoda::micro

#endif  // PAGODA_BENCH_CPU_REPORT_H_
