#include "core/dtype.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#include "oracle_formats.h"
#include "unit/float_patterns.h"

namespace pagoda {
namespace {

const DType kSmallFloats[] = {DType::kFloat16, DType::kBFloat16, DType::kFloat8E4M3,
                              DType::kFloat8E5M2};

uint32_t num_codes(DType dtype) {
  return 1u << (8 * size_of(dtype));
}

// The code of the element at `data`.
uint32_t code_at(DType dtype, const void* data) {
  uint32_t code = 0;
  std::memcpy(&code, data, size_of(dtype));
  return code;
}

uint32_t stored(DType dtype, float x) {
  uint32_t memory = 0;
  store_element(&memory, dtype, 0, x);
  return code_at(dtype, &memory);
}

uint32_t expected(DType dtype, float x) {
  uint32_t memory = 0;
  testing::encode(dtype, x, &memory);
  return code_at(dtype, &memory);
}

TEST(DType, EveryCodeHasItsValue) {
  for (DType dtype : kSmallFloats) {
    for (uint32_t code = 0; code < num_codes(dtype); ++code) {
      const double got = load_element(&code, dtype, 0);
      const double want = testing::decode(dtype, &code);
      const bool same = std::isnan(want) ? std::isnan(got)
                                         : got == want && std::signbit(got) == std::signbit(want);
      ASSERT_TRUE(same) << "dtype " << static_cast<int>(dtype) << " code " << code << " got " << got
                        << " want " << want;
    }
  }
}

TEST(DType, EveryCodeComesBack) {
  for (DType dtype : kSmallFloats) {
    for (uint32_t code = 0; code < num_codes(dtype); ++code) {
      const float value = load_element(&code, dtype, 0);
      const uint32_t back = stored(dtype, value);
      if (std::isnan(value)) {
        ASSERT_TRUE(std::isnan(load_element(&back, dtype, 0))) << code;
      } else if (std::isinf(value) && size_of(dtype) == 1) {
        ASSERT_EQ(load_element(&back, dtype, 0), std::copysign(kE5M2Max, value)) << code;
      } else {
        ASSERT_EQ(back, code) << "dtype " << static_cast<int>(dtype);
      }
    }
  }
}

TEST(DType, RoundsToNearestEvenAndSaturates) {
  for (DType dtype : kSmallFloats) {
    for (uint32_t high = 0; high < 0x10000; ++high) {
      for (uint32_t low : testing::kLowHalves) {
        const float x = bit_cast<float>(high << 16 | low);
        const uint32_t got = stored(dtype, x);
        if (std::isnan(x)) {
          ASSERT_TRUE(std::isnan(load_element(&got, dtype, 0)));
        } else {
          ASSERT_EQ(got, expected(dtype, x))
              << "dtype " << static_cast<int>(dtype) << " bits " << (high << 16 | low);
        }
      }
    }
  }
}

// Halfway between neighbours, and the floats on either side of it.
TEST(DType, TiesGoToTheEvenCode) {
  for (DType dtype : kSmallFloats) {
    const uint32_t sign = num_codes(dtype) / 2;
    for (uint32_t code = 0; code + 1 < sign; ++code) {
      const uint32_t next = code + 1;
      const auto below = static_cast<float>(testing::decode(dtype, &code));
      const auto above = static_cast<float>(testing::decode(dtype, &next));
      if (!std::isfinite(below) || !std::isfinite(above)) continue;
      const auto middle = static_cast<float>((static_cast<double>(below) + above) / 2);
      ASSERT_EQ(stored(dtype, middle), code % 2 == 0 ? code : next);
      ASSERT_EQ(stored(dtype, std::nextafter(middle, below)), code);
      ASSERT_EQ(stored(dtype, std::nextafter(middle, above)), next);
      ASSERT_EQ(stored(dtype, -middle), sign | (code % 2 == 0 ? code : next));
    }
  }
}

TEST(DType, LargestValues) {
  EXPECT_EQ(stored(DType::kFloat8E4M3, kE4M3Max), 0x7eu);
  EXPECT_EQ(stored(DType::kFloat8E4M3, kInfinity), 0x7eu);
  EXPECT_EQ(stored(DType::kFloat8E4M3, -kInfinity), 0xfeu);
  EXPECT_EQ(stored(DType::kFloat8E5M2, kE5M2Max), 0x7bu);
  EXPECT_EQ(stored(DType::kFloat8E5M2, 1e30f), 0x7bu);
  EXPECT_EQ(stored(DType::kFloat8E5M2, -kInfinity), 0xfbu);
  EXPECT_EQ(stored(DType::kFloat16, 65519.0f), 0x7bffu);
  EXPECT_EQ(stored(DType::kFloat16, 65520.0f), 0x7c00u);
  EXPECT_EQ(stored(DType::kBFloat16, 3.4e38f), 0x7f80u);
}

TEST(DType, Int8) {
  for (uint32_t high = 0; high < 0x10000; ++high) {
    for (uint32_t low : testing::kLowHalves) {
      const float x = bit_cast<float>(high << 16 | low);
      const float want = std::isnan(x) ? 0.0f : std::nearbyint(std::clamp(x, -127.0f, 127.0f));
      ASSERT_EQ(static_cast<float>(to_int8(x)), want) << x;
    }
  }
  for (int i = -128; i < 128; ++i) {
    EXPECT_EQ(to_float(static_cast<int8_t>(i)), static_cast<float>(i));
  }
}

TEST(DType, ElementsOfAnArray) {
  for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kFloat8E4M3,
                      DType::kFloat8E5M2, DType::kInt8}) {
    alignas(4) uint8_t memory[16];
    std::memset(memory, 0xff, sizeof(memory));
    store_element(memory, dtype, 2, -3.0f);
    EXPECT_EQ(load_element(memory, dtype, 2), -3.0f);
    const auto bytes = static_cast<size_t>(size_of(dtype));
    for (size_t i = 0; i < sizeof(memory); ++i) {
      if (i / bytes == 2) continue;
      EXPECT_EQ(memory[i], 0xff) << i;
    }
  }
}

}  // namespace
}  // namespace pagoda
