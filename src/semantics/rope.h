// Rotary position embedding of one pair of channels.
#ifndef PAGODA_SEMANTICS_ROPE_H_
#define PAGODA_SEMANTICS_ROPE_H_

#include "core/portability.h"

namespace pagoda {

// (a, b) <- (a c - b s, b c + a s)
PAGODA_HD void rotate_pair(float* a, float* b, float c, float s) {
  const float x = *a;
  const float y = *b;
  *a = x * c - y * s;
  *b = y * c + x * s;
}

}  // namespace pagoda

#endif  // PAGODA_SEMANTICS_ROPE_H_
