// Random tensors, the same on every platform.
#ifndef PAGODA_TOOLS_PAGODA_RANDOM_DATA_H_
#define PAGODA_TOOLS_PAGODA_RANDOM_DATA_H_

#include <cstdint>
#include <vector>

#include "pagoda/types.h"

namespace pagoda::tools {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t bits();
  double uniform();  // (0, 1)
  double normal();
  int64_t below(int64_t end) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(end)); }

 private:
  uint64_t state_;
};

// Fills dense memory with normal numbers of mean 0 and standard deviation `deviation`, drawn from
// 65536 different ones (which makes it as fast as memory, and no format is easier than another).
void fill_normal(const TensorView& dense, double deviation, Random* random);

// 0, 1, ..., count - 1 in random order.
std::vector<int32_t> shuffled_range(int32_t count, Random* random);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_RANDOM_DATA_H_
