// Multiply-adds in registers, as many as the processor can do.
#ifndef PAGODA_TOOLS_PAGODA_FMA_CHAINS_H_
#define PAGODA_TOOLS_PAGODA_FMA_CHAINS_H_

#include <cstdint>

namespace pagoda::tools {

struct FmaChains {
  const char* isa;
  int64_t flops_per_round;
  // Returns the sum of all chains, so that none is optimised away.
  float (*run)(int64_t num_rounds);
};

// For the widest vectors that this processor has.
const FmaChains& widest_fma_chains();
// Products of bf16 pairs, four flops a lane; null where the processor has none.
const FmaChains* bf16_dot_chains();

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_FMA_CHAINS_H_
