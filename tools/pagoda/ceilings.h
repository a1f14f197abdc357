// What this machine can do at best, measured: the roof that attention is compared with.
#ifndef PAGODA_TOOLS_PAGODA_CEILINGS_H_
#define PAGODA_TOOLS_PAGODA_CEILINGS_H_

#include <cstdint>
#include <string>

#include "json_output.h"

namespace pagoda::tools {

struct Ceilings {
  int32_t num_threads = 0;
  double read_bytes_per_second = 0.0;  // sequential, far larger than the caches
  double flops_per_second = 0.0;       // f32 multiply-adds in registers, two flops each
  std::string vector_isa;              // that reached it
  double bf16_flops_per_second = 0.0;  // products of bf16 pairs; 0 where there are none

  // The least time that moves `bytes` and computes `flops`, if the two overlap fully. `kernel` says
  // by which arithmetic, as in Explanation.
  double roof_seconds(double bytes, double flops, const std::string& kernel) const;
};

// Takes about a second and a half.
Ceilings measure_ceilings(int32_t num_threads);

std::string describe(const Ceilings& ceilings);
Json to_json(const Ceilings& ceilings);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_CEILINGS_H_
