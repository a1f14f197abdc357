// What this machine can do at best, measured: the roof that attention is compared with.
#ifndef PAGODA_TOOLS_PAGODA_CEILINGS_H_
#define PAGODA_TOOLS_PAGODA_CEILINGS_H_

#include <cstdint>
#include <string>

#include "json_output.h"
#include "rates.h"

namespace pagoda::tools {

enum class Bound { kRead, kF32, kBf16 };

// The least time that a batch can take, and which ceiling says so.
struct Roof {
  double seconds = 0.0;
  Bound bound = Bound::kRead;
};

struct Ceilings {
  int32_t num_threads = 0;
  double read_bytes_per_second = 0.0;  // sequential, far larger than the caches
  double flops_per_second = 0.0;       // f32 multiply-adds in registers, two flops each
  std::string vector_isa;              // that reached it
  double bf16_flops_per_second = 0.0;  // products of bf16 pairs; 0 where there are none
  double cpu_share = 1.0;  // the least that a measurement had of its CPUs; others had the rest

  // Of moving `bytes` and computing `flops`, if the two overlap fully. `kernel` says by which
  // arithmetic, as in Explanation.
  Roof roof(double bytes, double flops, const std::string& kernel) const;
  // "read 33.1 GB/s" or "bf16 0.470 TFLOP/s"
  std::string text_of(Bound bound) const;
};

// The higher of each: of two measurements, the one that was less disturbed.
Ceilings higher(const Ceilings& a, const Ceilings& b);

// Memory read and registers computed on by `num_threads` threads.
class CeilingMeter {
 public:
  explicit CeilingMeter(int32_t num_threads) : num_threads_(num_threads) {}

  // As they are now, in a quarter of a second. What a shared machine has left of its memory's
  // bandwidth changes within minutes.
  Ceilings measure() const;

 private:
  int32_t num_threads_;
  SequentialRead memory_;
};

std::string describe(const Ceilings& ceilings);
Json to_json(const Ceilings& ceilings);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_CEILINGS_H_
