#include "oracle_formats.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace pagoda::testing {
namespace {

// A binary floating-point format narrower than double: sign, exponent, mantissa. The code without
// its sign grows with the magnitude.
struct Format {
  int bits;
  int mantissa_bits;
  int min_exponent;    // of normal numbers
  uint32_t max_code;   // largest finite magnitude
  uint32_t over_code;  // what a magnitude too large to round to max_code becomes
  uint32_t inf_code;   // 0 = the format has none
  uint32_t nan_code;
};

constexpr Format kFloat16{16, 10, -14, 0x7bff, 0x7c00, 0x7c00, 0x7e00};
constexpr Format kBFloat16{16, 7, -126, 0x7f7f, 0x7f80, 0x7f80, 0x7fc0};
constexpr Format kE4M3{8, 3, -6, 0x7e, 0x7e, 0, 0x7f};
constexpr Format kE5M2{8, 2, -14, 0x7b, 0x7b, 0x7c, 0x7e};

constexpr int kDoubleMantissa = 52;
constexpr int kDoubleBias = 1023;
constexpr uint64_t kDoubleMantissaMask = (uint64_t{1} << kDoubleMantissa) - 1;

double power_of_two(int exponent) {
  return std::bit_cast<double>(static_cast<uint64_t>(exponent + kDoubleBias) << kDoubleMantissa);
}

template <Format f>
double value_of(uint32_t code) {
  const uint32_t sign = code >> (f.bits - 1);
  const uint32_t magnitude = code & ((1u << (f.bits - 1)) - 1);
  const int exponent = static_cast<int>(magnitude >> f.mantissa_bits);
  const uint32_t mantissa = magnitude & ((1u << f.mantissa_bits) - 1);
  double value;
  if (magnitude > f.max_code) {
    value = f.inf_code != 0 && magnitude == f.inf_code ? std::numeric_limits<double>::infinity()
                                                       : std::numeric_limits<double>::quiet_NaN();
  } else if (exponent == 0) {
    value = mantissa * power_of_two(f.min_exponent - f.mantissa_bits);
  } else {
    value = (mantissa + (1u << f.mantissa_bits)) *
            power_of_two(exponent - 1 + f.min_exponent - f.mantissa_bits);
  }
  return sign ? -value : value;
}

template <Format f>
uint32_t magnitude_code(double value) {
  if (std::isnan(value)) return f.nan_code;
  const uint64_t bits = std::bit_cast<uint64_t>(value) & ~(uint64_t{1} << 63);
  const int exponent = static_cast<int>(bits >> kDoubleMantissa) - kDoubleBias;
  if (exponent > kDoubleBias) return f.over_code;
  const int unit_exponent = std::max(exponent, f.min_exponent);
  const int drop = kDoubleMantissa - f.mantissa_bits + (unit_exponent - exponent);
  if (drop > kDoubleMantissa + 1) return 0;  // below half of the smallest number, or zero
  const uint64_t significand = (bits & kDoubleMantissaMask) | (kDoubleMantissaMask + 1);
  const uint64_t rest = significand & ((uint64_t{1} << drop) - 1);
  const uint64_t half = uint64_t{1} << (drop - 1);
  uint64_t kept = significand >> drop;
  if (rest > half || (rest == half && kept % 2 == 1)) ++kept;
  // A normal number keeps its leading one, which counts as the first exponent.
  const uint64_t code =
      kept + (static_cast<uint64_t>(unit_exponent - f.min_exponent) << f.mantissa_bits);
  return code > f.max_code ? f.over_code : static_cast<uint32_t>(code);
}

template <Format f>
uint32_t code_of(double value) {
  return magnitude_code<f>(value) | (std::signbit(value) ? 1u << (f.bits - 1) : 0u);
}

template <class T>
T load(const void* element) {
  T value;
  std::memcpy(&value, element, sizeof(T));
  return value;
}

template <class T>
void store(T value, void* element) {
  std::memcpy(element, &value, sizeof(T));
}

int8_t saturated_int8(double value) {
  const double rounded = std::isnan(value) ? 0.0 : std::nearbyint(value);
  return static_cast<int8_t>(std::clamp(rounded, -127.0, 127.0));
}

}  // namespace

double decode(DType dtype, const void* element) {
  switch (dtype) {
    case DType::kFloat32:
      return load<float>(element);
    case DType::kFloat16:
      return value_of<kFloat16>(load<uint16_t>(element));
    case DType::kBFloat16:
      return value_of<kBFloat16>(load<uint16_t>(element));
    case DType::kFloat8E4M3:
      return value_of<kE4M3>(load<uint8_t>(element));
    case DType::kFloat8E5M2:
      return value_of<kE5M2>(load<uint8_t>(element));
    default:
      return load<int8_t>(element);
  }
}

void encode(DType dtype, double value, void* element) {
  switch (dtype) {
    case DType::kFloat32:
      return store(static_cast<float>(value), element);
    case DType::kFloat16:
      return store(static_cast<uint16_t>(code_of<kFloat16>(value)), element);
    case DType::kBFloat16:
      return store(static_cast<uint16_t>(code_of<kBFloat16>(value)), element);
    case DType::kFloat8E4M3:
      return store(static_cast<uint8_t>(code_of<kE4M3>(value)), element);
    case DType::kFloat8E5M2:
      return store(static_cast<uint8_t>(code_of<kE5M2>(value)), element);
    default:
      return store(saturated_int8(value), element);
  }
}

double round_to(DType dtype, double value) {
  alignas(4) unsigned char element[4];
  encode(dtype, value, element);
  return decode(dtype, element);
}

double max_finite(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return std::numeric_limits<float>::max();
    case DType::kFloat16:
      return value_of<kFloat16>(kFloat16.max_code);
    case DType::kBFloat16:
      return value_of<kBFloat16>(kBFloat16.max_code);
    case DType::kFloat8E4M3:
      return value_of<kE4M3>(kE4M3.max_code);
    case DType::kFloat8E5M2:
      return value_of<kE5M2>(kE5M2.max_code);
    default:
      return 127.0;
  }
}

}  // namespace pagoda::testing
