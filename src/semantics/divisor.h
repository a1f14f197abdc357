// Division by one number of many, in three instructions each.
#ifndef PAGODA_SEMANTICS_DIVISOR_H_
#define PAGODA_SEMANTICS_DIVISOR_H_

#include "core/portability.h"

namespace pagoda {

struct Divisor {
  float divisor;
  float reciprocal;

  PAGODA_HD explicit Divisor(float by) : divisor(by), reciprocal(1.0f / by) {}

  // Whether quotient() serves for every x of magnitude `largest` or less: nothing on the way
  // overflows, and what underflows belongs to a quotient below kTiny.
  PAGODA_HD bool covers(float largest) const {
    return divisor >= 1.0f / kSafe && divisor <= kSafe && largest <= kSafe;
  }

  // x / divisor as a division rounds it, signed zeros and NaN too (tests/unit/divisor_test.cc goes
  // through all that are nearly ties); below kTiny, not all of its bits. The remainder of the first
  // guess is exact. It is negated so that nothing is added to -0 but -0.
  PAGODA_HD float quotient(float x) const {
    const float guess = x * reciprocal;
    const float excess = __builtin_fmaf(guess, divisor, -x);
    return __builtin_fmaf(excess, -reciprocal, guess);
  }

  static constexpr float kSafe = 0x1p60f;
  static constexpr float kTiny = 0x1p-40f;  // which no 8-bit type tells from zero
};

}  // namespace pagoda

#endif  // PAGODA_SEMANTICS_DIVISOR_H_
