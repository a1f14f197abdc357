// Float bit patterns among which every way of rounding shows.
#ifndef PAGODA_TESTS_UNIT_FLOAT_PATTERNS_H_
#define PAGODA_TESTS_UNIT_FLOAT_PATTERNS_H_

#include <cstdint>

namespace pagoda::testing {

// Below every upper half of an f32: nothing, ties of each kept bit with their neighbours, all ones.
// With all upper halves: subnormals, infinities and NaNs of every format too.
inline constexpr uint32_t kLowHalves[] = {0x0000, 0x0001, 0x0fff, 0x1000, 0x1001, 0x1fff, 0x2000,
                                          0x2001, 0x2fff, 0x3000, 0x3001, 0x4000, 0x4001, 0x5000,
                                          0x6000, 0x7000, 0x7fff, 0x8000, 0x8001, 0x9000, 0xb000,
                                          0xc000, 0xd000, 0xefff, 0xf000, 0xf001, 0xffff};

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_UNIT_FLOAT_PATTERNS_H_
