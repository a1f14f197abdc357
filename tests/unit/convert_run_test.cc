// The vector conversions of every instruction set against those of core/dtype.h.
#include "cpu/convert_run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "core/dtype.h"
#include "cpu/kernel_table.h"
#include "unit/float_patterns.h"

namespace pagoda::cpu {

extern const Kernels kKernelsPortable;
#if defined(__x86_64__)
extern const Kernels kKernelsAvx2;
extern const Kernels kKernelsAvx512;
#endif

namespace {

const DType kAll[] = {DType::kFloat32,    DType::kFloat16,    DType::kBFloat16,
                      DType::kFloat8E4M3, DType::kFloat8E5M2, DType::kInt8};

std::vector<const Kernels*> kernels_here() {
  std::vector<const Kernels*> all{&kKernelsPortable};
#if defined(__x86_64__)
  all.push_back(&kKernelsAvx2);
  all.push_back(&kKernelsAvx512);
#endif
  const std::vector<std::string> names = available_isas();
  std::erase_if(all, [&](const Kernels* kernels) {
    return std::find(names.begin(), names.end(), kernels->name) == names.end();
  });
  return all;
}

bool same_float(float a, float b) {
  return std::isnan(a) ? std::isnan(b) : bit_cast<uint32_t>(a) == bit_cast<uint32_t>(b);
}

TEST(ConvertRun, WidensEveryCode) {
  for (const Kernels* kernels : kernels_here()) {
    for (DType dtype : kAll) {
      std::vector<uint32_t> codes(1 << 16);
      std::iota(codes.begin(), codes.end(), 0u);
      std::vector<uint8_t> packed;
      for (uint32_t code : codes) {
        if (dtype == DType::kFloat32) code = code << 16 | 0x4321;
        const auto* bytes = reinterpret_cast<const uint8_t*>(&code);
        packed.insert(packed.end(), bytes, bytes + size_of(dtype));
      }
      std::vector<float> values(codes.size());
      kernels->widen({packed.data(), dtype}, static_cast<int32_t>(codes.size()), values.data());
      for (size_t i = 0; i < codes.size(); ++i) {
        const float want = load_element(packed.data(), dtype, static_cast<int64_t>(i));
        ASSERT_TRUE(same_float(values[i], want))
            << kernels->name << " dtype " << static_cast<int>(dtype) << " element " << i;
      }
    }
  }
}

TEST(ConvertRun, NarrowsBitForBit) {
  std::vector<float> values;
  for (uint32_t high = 0; high < 0x10000; ++high) {
    for (uint32_t low : testing::kLowHalves) values.push_back(bit_cast<float>(high << 16 | low));
  }
  const auto count = static_cast<int32_t>(values.size());
  for (DType dtype : kAll) {
    std::vector<uint8_t> want(values.size() * size_of(dtype));
    for (int32_t i = 0; i < count; ++i) store_element(want.data(), dtype, i, values[i]);
    for (const Kernels* kernels : kernels_here()) {
      std::vector<uint8_t> got(want.size());
      kernels->narrow(values.data(), count, {got.data(), dtype});
      const auto [a, b] = std::mismatch(got.begin(), got.end(), want.begin());
      EXPECT_EQ(a, got.end()) << kernels->name << " dtype " << static_cast<int>(dtype) << " value "
                              << values[(a - got.begin()) / size_of(dtype)];
    }
  }
}

// Runs of every length, whole vectors or not, end where they should.
TEST(ConvertRun, AnyLength) {
  const std::vector<float> ones(80, 1.0f);
  for (const Kernels* kernels : kernels_here()) {
    for (DType dtype : kAll) {
      for (int32_t count = 0; count <= 70; ++count) {
        std::vector<uint8_t> packed(80 * size_of(dtype), 0xa5);
        std::vector<float> values(80, -2.0f);
        kernels->narrow(ones.data(), count, {packed.data(), dtype});
        kernels->widen({packed.data(), dtype}, count, values.data());
        for (int32_t i = 0; i < 80; ++i) ASSERT_EQ(values[i], i < count ? 1.0f : -2.0f);
        const auto written = packed.begin() + static_cast<int64_t>(count * size_of(dtype));
        ASSERT_TRUE(std::all_of(written, packed.end(), [](uint8_t x) { return x == 0xa5; }));
      }
    }
  }
}

}  // namespace
}  // namespace pagoda::cpu
