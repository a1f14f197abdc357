#include "random_data.h"

#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

#include "oracle_formats.h"

namespace pagoda::tools {
namespace {

constexpr size_t kTableSize = 1 << 16;

template <class Code>
void fill_codes(const TensorView& dense, double deviation, Random* random) {
  std::vector<Code> table(kTableSize);
  for (Code& code : table) {
    testing::encode(dense.dtype, deviation * random->normal(), &code);
  }
  auto* codes = static_cast<Code*>(dense.data);
  const int64_t count = dense.num_elements();
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const uint64_t bits = random->bits();
    for (int j = 0; j < 4; ++j) codes[i + j] = table[(bits >> (16 * j)) % kTableSize];
  }
  for (; i < count; ++i) codes[i] = table[random->bits() % kTableSize];
}

}  // namespace

// SplitMix64.
uint64_t Random::bits() {
  state_ += 0x9e3779b97f4a7c15u;
  uint64_t x = state_;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

double Random::uniform() {
  return (static_cast<double>(bits() >> 12) + 0.5) * 0x1p-52;
}

double Random::normal() {
  const double radius = std::sqrt(-2.0 * std::log(uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

void fill_normal(const TensorView& dense, double deviation, Random* random) {
  switch (size_of(dense.dtype)) {
    case 1:
      return fill_codes<uint8_t>(dense, deviation, random);
    case 2:
      return fill_codes<uint16_t>(dense, deviation, random);
    default:
      return fill_codes<uint32_t>(dense, deviation, random);
  }
}

std::vector<int32_t> shuffled_range(int32_t count, Random* random) {
  std::vector<int32_t> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), 0);
  for (size_t i = values.size(); i > 1; --i) {
    std::swap(values[i - 1], values[static_cast<size_t>(random->below(static_cast<int64_t>(i)))]);
  }
  return values;
}

}  // namespace pagoda::tools
