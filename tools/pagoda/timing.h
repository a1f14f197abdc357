// Wall-clock time, and what to say of many measurements of it.
#ifndef PAGODA_TOOLS_PAGODA_TIMING_H_
#define PAGODA_TOOLS_PAGODA_TIMING_H_

#include <chrono>
#include <vector>

namespace pagoda::tools {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// The smallest sample that at least `fraction` of all samples do not exceed; 0 without samples.
double percentile(std::vector<double> samples, double fraction);

inline double median(std::vector<double> samples) {
  return percentile(std::move(samples), 0.5);
}

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_TIMING_H_
