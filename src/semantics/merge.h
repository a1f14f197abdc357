// Merging results over disjoint keys by their natural log-sum-exp. Differences of lse are taken
// before anything is scaled: an lse can be large, and weights depend on its last bits.
#ifndef PAGODA_SEMANTICS_MERGE_H_
#define PAGODA_SEMANTICS_MERGE_H_

#include "core/arith.h"
#include "core/portability.h"
#include "semantics/score.h"

namespace pagoda {

// What an lse counts as: +inf and NaN are states that saw nothing.
PAGODA_HD float usable_lse(float lse) {
  return lse < kInfinity ? lse : -kInfinity;
}

// exp(lse - largest); the state that saw nothing weighs 0, even beside others like it.
PAGODA_HD float merge_weight(float lse, float largest_lse) {
  const float usable = usable_lse(lse);
  return usable == -kInfinity ? 0.0f : exp2_of((usable - largest_lse) * kLog2e);
}

// The lse of the whole, from the largest and the sum of weights.
PAGODA_HD float merged_lse(float largest_lse, float weight_sum) {
  return weight_sum == 0.0f ? -kInfinity : largest_lse + log2_of(weight_sum) * kLn2;
}

}  // namespace pagoda

#endif  // PAGODA_SEMANTICS_MERGE_H_
