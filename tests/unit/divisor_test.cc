#include "semantics/divisor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>

#include "core/portability.h"

namespace pagoda {
namespace {

constexpr int64_t kOne = int64_t{1} << 23;  // a significand is kOne ... 2 * kOne - 1

uint32_t bits_of(float x) {
  return bit_cast<uint32_t>(x);
}

// Bit for bit where that is promised; else both quotients are tiny, of one sign.
bool is_right(float x, const Divisor& by) {
  const float got = by.quotient(x);
  const float want = x / by.divisor;
  if (std::isnan(want)) return std::isnan(got);
  if (bits_of(got) == bits_of(want)) return true;
  return std::signbit(got) == std::signbit(want) && std::abs(got) < Divisor::kTiny &&
         std::abs(want) < Divisor::kTiny;
}

// Of odd y, modulo 2^32.
uint32_t inverse_of(uint32_t y) {
  uint32_t inverse = y;  // right in three bits, of which each step makes twice as many
  for (int i = 0; i < 4; ++i) inverse *= 2 - y * inverse;
  return inverse;
}

// Checks every significand x with x * 2^shift = tie * y + distance for an odd tie: the quotients by
// y that are so near a tie between two floats. shift is 24 for x >= y, 25 for x < y.
int64_t num_wrong_near_ties(int64_t y, int shift, int64_t distance) {
  const int twos = __builtin_ctzll(static_cast<uint64_t>(y));
  if (distance % (int64_t{1} << twos) != 0) return 0;
  // tie * (y >> twos) = -(distance >> twos), modulo `step`
  const int64_t step = int64_t{1} << (shift - twos);
  const auto odd_y = static_cast<uint32_t>(y >> twos);
  const auto rest = static_cast<uint32_t>(-(distance / (int64_t{1} << twos)));
  const int64_t first = (rest * inverse_of(odd_y)) & static_cast<uint32_t>(step - 1);
  if (first % 2 == 0) return 0;
  const Divisor by(static_cast<float>(y));
  int64_t num_wrong = 0;
  // A tie has 25 bits.
  for (int64_t tie = first + (2 * kOne - first + step - 1) / step * step; tie < 4 * kOne;
       tie += step) {
    const int64_t x = (tie * y + distance) >> shift;
    const bool has_shift = (x >= y) == (shift == 24);
    if (x < kOne || x >= 2 * kOne || !has_shift) continue;
    if (!is_right(static_cast<float>(x), by)) ++num_wrong;
  }
  return num_wrong;
}

// The corrected guess is off by less than 2^-22 of a last place before its rounding, which is less
// than `distance` = 8: what is not as near a tie as that is rounded as the quotient is. Scaling by
// powers of two changes nothing in the range covered. Every 7th divisor; all were tried once.
TEST(Divisor, QuotientsNearTiesAreRounded) {
  constexpr int64_t kEvery = 7;
  for (int64_t y = kOne; y < 2 * kOne; y += kEvery) {
    for (int64_t distance = -8; distance <= 8; ++distance) {
      for (const int shift : {24, 25}) {
        ASSERT_EQ(num_wrong_near_ties(y, shift, distance), 0) << y << " " << distance;
      }
    }
  }
}

TEST(Divisor, RandomQuotientsAreRounded) {
  std::mt19937 random(1);
  const auto pattern = [&] { return bit_cast<float>(static_cast<uint32_t>(random())); };
  int64_t num_covered = 0;
  for (int64_t i = 0; i < 3'000'000; ++i) {
    const Divisor by(std::abs(pattern()));
    const float x = pattern();
    if (!by.covers(std::abs(x)) && !std::isnan(x)) continue;
    if (!by.covers(0.0f)) continue;
    ++num_covered;
    ASSERT_TRUE(is_right(x, by)) << std::hexfloat << x << " / " << by.divisor;
  }
  EXPECT_GT(num_covered, 500'000);
}

// Both signs of zeros, of the least floats and of what lies about a power of two.
TEST(Divisor, EdgesAreRounded) {
  for (int y_exponent = -60; y_exponent <= 60; ++y_exponent) {
    for (uint32_t y_low : {0x0u, 0x1u, 0x2u, 0x3fffffu, 0x400000u, 0x7ffffeu, 0x7fffffu}) {
      const Divisor by(bit_cast<float>((static_cast<uint32_t>(127 + y_exponent) << 23) | y_low));
      if (!by.covers(0.0f)) continue;
      for (uint32_t exponent = 0; exponent <= 127 + 60; ++exponent) {
        for (uint32_t low : {0x0u, 0x1u, 0x2u, 0x3u, 0x5u, 0x155555u, 0x3fffffu, 0x7fffffu}) {
          for (uint32_t sign : {0x0u, 0x80000000u}) {
            const float x = bit_cast<float>(sign | (exponent << 23) | low);
            if (!by.covers(std::abs(x))) continue;
            ASSERT_TRUE(is_right(x, by)) << std::hexfloat << x << " / " << by.divisor;
          }
        }
      }
    }
  }
}

TEST(Divisor, CoversNothingItCannotDivide) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const float divisor : {0.0f, -0.0f, -1.0f, 1e-19f, 1e19f, kInf, -kInf, NAN, 1e-40f}) {
    EXPECT_FALSE(Divisor(divisor).covers(1.0f)) << divisor;
  }
  EXPECT_FALSE(Divisor(1.0f).covers(kInf));
  EXPECT_FALSE(Divisor(1.0f).covers(1e19f));
  EXPECT_TRUE(Divisor(0.5f).covers(1.0f));
}

}  // namespace
}  // namespace pagoda
