// Small integer arithmetic, host and device.
#ifndef PAGODA_CORE_ARITH_H_
#define PAGODA_CORE_ARITH_H_

#include "core/portability.h"

namespace pagoda {

constexpr float kLog2e = 1.44269504088896340736f;
constexpr float kLn2 = 0.69314718055994530942f;

template <class T>
PAGODA_HD constexpr T min_of(T a, T b) {
  return b < a ? b : a;
}

template <class T>
PAGODA_HD constexpr T max_of(T a, T b) {
  return a < b ? b : a;
}

template <class T>
PAGODA_HD constexpr T clamp_to(T x, T low, T high) {
  return min_of(max_of(x, low), high);
}

// For x >= 0, y > 0.
template <class T>
PAGODA_HD constexpr T ceil_div(T x, T y) {
  return (x + y - 1) / y;
}

template <class T>
PAGODA_HD constexpr T round_up(T x, T multiple) {
  return ceil_div(x, multiple) * multiple;
}

template <class T>
PAGODA_HD constexpr T round_down(T x, T multiple) {
  return x / multiple * multiple;
}

// floor(x / y) for any x, y > 0: positions can be negative (k_len < q_len).
PAGODA_HD constexpr int32_t floor_div(int32_t x, int32_t y) {
  return x / y - (x % y < 0 ? 1 : 0);
}

}  // namespace pagoda

#endif  // PAGODA_CORE_ARITH_H_
