#include "units.h"

#include <fmt/format.h>

namespace pagoda::tools {
namespace {

struct Unit {
  double size;
  const char* name;
};

constexpr Unit kBytes[] = {
    {1073741824.0, "GiB"}, {1048576.0, "MiB"}, {1024.0, "KiB"}, {1.0, "bytes"}};
constexpr Unit kSeconds[] = {{1.0, "s"}, {1e-3, "ms"}, {1e-6, "us"}};

// Three digits, in the largest of `units` that the value reaches, else in the last one.
template <size_t kCount>
std::string format_in(const Unit (&units)[kCount], double value) {
  const Unit* unit = units;
  while (unit != units + kCount - 1 && value < unit->size) ++unit;
  const double scaled = value / unit->size;
  const int decimals = scaled >= 100.0 ? 0 : scaled >= 10.0 ? 1 : 2;
  return fmt::format("{:.{}f} {}", scaled, decimals, unit->name);
}

}  // namespace

std::string format_bytes(double bytes) {
  return format_in(kBytes, bytes);
}

std::string format_seconds(double seconds) {
  return format_in(kSeconds, seconds);
}

std::string format_count(int64_t count) {
  std::string digits = std::to_string(count);
  const size_t first_digit = count < 0 ? 1 : 0;
  for (size_t i = digits.size(); i > first_digit + 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

std::string format_percent(double fraction) {
  return fmt::format("{:.0f} %", 100.0 * fraction);
}

}  // namespace pagoda::tools
