// The oracle's number formats: every code, and the rounding rules at their edges.
#include "oracle_formats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace pagoda::testing {
namespace {

constexpr DType kFormats[] = {DType::kFloat16, DType::kBFloat16, DType::kFloat8E4M3,
                              DType::kFloat8E5M2, DType::kInt8};

TEST(OracleFormats, EveryCodeSurvives) {
  for (const DType dtype : kFormats) {
    const uint32_t num_codes = size_of(dtype) == 1 ? 256 : 65536;
    for (uint32_t code = 0; code < num_codes; ++code) {
      const auto stored = static_cast<uint16_t>(code);
      const double value = decode(dtype, &stored);
      uint16_t again = 0;
      encode(dtype, value, &again);
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(decode(dtype, &again)));
      } else if (std::isinf(value) && dtype == DType::kFloat8E5M2) {
        EXPECT_EQ(decode(dtype, &again), std::copysign(57344.0, value));  // fp8 saturates
      } else if (dtype == DType::kInt8 && value == -128.0) {
        EXPECT_EQ(decode(dtype, &again), -127.0);  // read, never written
      } else {
        EXPECT_EQ(again, stored) << "dtype " << static_cast<int>(dtype);
      }
    }
  }
}

TEST(OracleFormats, KnownValues) {
  const auto value = [](DType dtype, uint16_t code) { return decode(dtype, &code); };
  EXPECT_EQ(value(DType::kFloat16, 0x3c00), 1.0);
  EXPECT_EQ(value(DType::kFloat16, 0x0001), 0x1p-24);
  EXPECT_EQ(value(DType::kFloat16, 0x7bff), 65504.0);
  EXPECT_EQ(value(DType::kFloat16, 0xfc00), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(value(DType::kBFloat16, 0x3fc0), 1.5);
  EXPECT_EQ(value(DType::kBFloat16, 0x0001), 0x1p-133);
  EXPECT_EQ(value(DType::kFloat8E4M3, 0x7e), 448.0);
  EXPECT_EQ(value(DType::kFloat8E4M3, 0x01), 0x1p-9);
  EXPECT_TRUE(std::isnan(value(DType::kFloat8E4M3, 0x7f)));
  EXPECT_EQ(value(DType::kFloat8E5M2, 0x7b), 57344.0);
  EXPECT_EQ(value(DType::kFloat8E5M2, 0x81), -0x1p-16);
  EXPECT_EQ(value(DType::kInt8, 0x80), -128.0);
}

TEST(OracleFormats, RoundsToNearestEven) {
  EXPECT_EQ(round_to(DType::kBFloat16, 1.0 + 0x1p-8), 1.0);           // a tie, down to even
  EXPECT_EQ(round_to(DType::kBFloat16, 1.0 + 0x3p-8), 1.0 + 0x1p-6);  // a tie, up to even
  EXPECT_EQ(round_to(DType::kBFloat16, 1.0 + 0x1p-8 + 0x1p-50), 1.0 + 0x1p-7);
  EXPECT_EQ(round_to(DType::kFloat16, 0x1p-25), 0.0);  // half of the smallest
  EXPECT_EQ(round_to(DType::kFloat16, 0x1.8p-25), 0x1p-24);
  EXPECT_EQ(round_to(DType::kFloat16, 0x1p-14 - 0x1p-26), 0x1p-14);  // subnormal to normal
  EXPECT_EQ(round_to(DType::kInt8, 2.5), 2.0);
  EXPECT_EQ(round_to(DType::kInt8, -3.5), -4.0);
}

TEST(OracleFormats, LargeValues) {
  EXPECT_EQ(round_to(DType::kFloat16, 65519.0), 65504.0);
  EXPECT_TRUE(std::isinf(round_to(DType::kFloat16, 65520.0)));
  EXPECT_EQ(round_to(DType::kFloat8E4M3, 1e9), 448.0);
  EXPECT_EQ(round_to(DType::kFloat8E4M3, -std::numeric_limits<double>::infinity()), -448.0);
  EXPECT_EQ(round_to(DType::kFloat8E5M2, 60000.0), 57344.0);
  EXPECT_EQ(round_to(DType::kInt8, 300.0), 127.0);
  EXPECT_EQ(round_to(DType::kInt8, -300.0), -127.0);
  EXPECT_EQ(round_to(DType::kInt8, -127.6), -127.0);
  for (const DType dtype : kFormats) {
    EXPECT_EQ(std::isnan(round_to(dtype, std::nan(""))), dtype != DType::kInt8);
  }
}

}  // namespace
}  // namespace pagoda::testing
