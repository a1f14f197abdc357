// Rotary position embedding of one row, run by run.
#ifndef PAGODA_CPU_ROTATE_ROW_H_
#define PAGODA_CPU_ROTATE_ROW_H_

#include <algorithm>
#include <cstdint>

#include "cpu/convert_run.h"
#include "semantics/rope.h"

namespace pagoda::cpu {

// The rotation of one token's rows. rotary_dim 0 = none.
struct Rotation {
  Elements cos_sin;  // [rotary_dim]: cosines, then sines
  int32_t rotary_dim = 0;
  bool interleaved = false;
};

// rotate_pair() of `count` pairs that lie `step` apart.
inline void rotate_pairs(float* a, float* b, int32_t step, const float* c, const float* s,
                         int32_t count) {
  for (int32_t i = 0; i < count; ++i) rotate_pair(a + i * step, b + i * step, c[i], s[i]);
}

// Calls visit(first, values, count) for runs of a row's rotated channels, which cover the first
// rotary_dim. Both halves of a pair are read before either is visited, so visit may overwrite them.
template <class Visit>
void for_each_rotated_run(Elements row, const Rotation& rotation, Visit&& visit) {
  constexpr int32_t kPairs = kRunElements / 2;
  const int32_t half = rotation.rotary_dim / 2;
  float cosines[kPairs];
  float sines[kPairs];
  float values[2 * kPairs];
  for (int32_t first = 0; first < half; first += kPairs) {
    const int32_t count = std::min(kPairs, half - first);
    widen(rotation.cos_sin.at(first), count, cosines);
    widen(rotation.cos_sin.at(half + first), count, sines);
    if (rotation.interleaved) {
      widen(row.at(2 * first), 2 * count, values);
      rotate_pairs(values, values + 1, 2, cosines, sines, count);
      visit(2 * first, values, 2 * count);
    } else {
      float* const b = values + kPairs;
      widen(row.at(first), count, values);
      widen(row.at(half + first), count, b);
      rotate_pairs(values, b, 1, cosines, sines, count);
      visit(first, values, count);
      visit(half + first, b, count);
    }
  }
}

// The same for all channels, of which those from rotary_dim on are as they were.
template <class Visit>
void for_each_run(Elements row, int32_t head_dim, const Rotation& rotation, Visit&& visit) {
  for_each_rotated_run(row, rotation, visit);
  float values[kRunElements];
  for (int32_t first = rotation.rotary_dim; first < head_dim; first += kRunElements) {
    const int32_t count = std::min(kRunElements, head_dim - first);
    widen(row.at(first), count, values);
    visit(first, values, count);
  }
}

}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_ROTATE_ROW_H_
