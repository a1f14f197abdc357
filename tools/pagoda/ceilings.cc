#include "ceilings.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fma_chains.h"

namespace pagoda::tools {
namespace {

// Spent on each rate: a dozen passes or more.
constexpr double kReadSeconds = 0.15;
constexpr double kComputeSeconds = 0.05;

}  // namespace

Roof Ceilings::roof(double bytes, double flops, const std::string& kernel) const {
  const bool bf16 = bf16_flops_per_second > 0.0 && kernel.find("bf16_dot") != std::string::npos;
  const double read_seconds = bytes / read_bytes_per_second;
  const double compute_seconds = flops / (bf16 ? bf16_flops_per_second : flops_per_second);
  if (read_seconds >= compute_seconds) return {read_seconds, Bound::kRead};
  return {compute_seconds, bf16 ? Bound::kBf16 : Bound::kF32};
}

std::string Ceilings::text_of(Bound bound) const {
  if (bound == Bound::kRead) return fmt::format("read {:.1f} GB/s", read_bytes_per_second / 1e9);
  if (bound == Bound::kF32) return fmt::format("f32 {:.3f} TFLOP/s", flops_per_second / 1e12);
  return fmt::format("bf16 {:.3f} TFLOP/s", bf16_flops_per_second / 1e12);
}

Ceilings CeilingMeter::measure() const {
  const FmaChains& f32 = widest_fma_chains();
  const FmaChains* bf16 = bf16_dot_chains();
  Ceilings ceilings{.num_threads = num_threads_, .vector_isa = f32.isa};
  const auto note = [&](const Rate& rate) {
    ceilings.cpu_share = std::min(ceilings.cpu_share, rate.cpu_share);
    return rate.per_second;
  };
  ceilings.read_bytes_per_second = note(memory_.bytes_per_second(num_threads_, kReadSeconds));
  ceilings.flops_per_second = note(flops_per_second(f32, num_threads_, kComputeSeconds));
  if (bf16 != nullptr) {
    ceilings.bf16_flops_per_second = note(flops_per_second(*bf16, num_threads_, kComputeSeconds));
  }
  return ceilings;
}

Ceilings higher(const Ceilings& a, const Ceilings& b) {
  Ceilings result = a;
  result.read_bytes_per_second = std::max(a.read_bytes_per_second, b.read_bytes_per_second);
  result.flops_per_second = std::max(a.flops_per_second, b.flops_per_second);
  result.bf16_flops_per_second = std::max(a.bf16_flops_per_second, b.bf16_flops_per_second);
  result.cpu_share = std::max(a.cpu_share, b.cpu_share);
  return result;
}

std::string describe(const Ceilings& ceilings) {
  const std::string bf16 =
      ceilings.bf16_flops_per_second > 0.0
          ? fmt::format(", bf16 products {:.3f}", ceilings.bf16_flops_per_second / 1e12)
          : "";
  // The start of threads takes some percent by itself.
  const std::string busy = ceilings.cpu_share < 0.9
                               ? fmt::format("; other work took {:.0f} % of the CPUs",
                                             100.0 * (1.0 - ceilings.cpu_share))
                               : "";
  return fmt::format("read {:.1f} GB/s, f32 multiply-add {:.3f} TFLOP/s ({}){}, {} thread{}{}",
                     ceilings.read_bytes_per_second / 1e9, ceilings.flops_per_second / 1e12,
                     ceilings.vector_isa, bf16, ceilings.num_threads,
                     ceilings.num_threads == 1 ? "" : "s", busy);
}

Json to_json(const Ceilings& ceilings) {
  return {{"num_threads", ceilings.num_threads},
          {"read_gb_per_s", ceilings.read_bytes_per_second / 1e9},
          {"f32_fma_tflop_per_s", ceilings.flops_per_second / 1e12},
          {"vector_isa", ceilings.vector_isa},
          {"bf16_dot_tflop_per_s", ceilings.bf16_flops_per_second / 1e12},
          {"cpu_share", ceilings.cpu_share}};
}

}  // namespace pagoda::tools
