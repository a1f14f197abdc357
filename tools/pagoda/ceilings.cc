#include "ceilings.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "fma_chains.h"
#include "host_memory.h"
#include "timing.h"
#include "units.h"

namespace pagoda::tools {
namespace {

constexpr size_t kMinReadBytes = size_t{256} << 20;
constexpr size_t kCachesToRead = 2;   // last-level caches: a cyclic pass finds little left in them
constexpr double kReadSeconds = 0.5;  // spent on reading, at least two passes
constexpr double kComputeSeconds = 0.3;    // spent on computing
constexpr int64_t kFmaRounds = 1'000'000;  // a few ms

// Runs task(thread) on `num_threads` threads at once; returns the seconds until all are done.
template <class Task>
double run_on_threads(int32_t num_threads, Task task) {
  std::vector<std::thread> threads;
  std::atomic<bool> go = false;
  for (int32_t i = 0; i < num_threads; ++i) {
    threads.emplace_back([&, i] {
      go.wait(false);
      task(i);
    });
  }
  const Stopwatch stopwatch;
  go = true;
  go.notify_all();
  for (std::thread& thread : threads) thread.join();
  return stopwatch.seconds();
}

// On a shared machine the fastest pass is the one that was least disturbed.
template <class Pass>
double fastest_pass(double min_seconds, Pass pass) {
  double fastest = pass();
  const Stopwatch stopwatch;
  do {
    fastest = std::min(fastest, pass());
  } while (stopwatch.seconds() < min_seconds);
  return fastest;
}

// Reads all of it; returns something that depends on all of it. Eight sums, since one that waits
// for itself would be the bound.
uint64_t read_lines(const std::byte* begin, size_t bytes) {
  typedef uint64_t Part __attribute__((vector_size(16), aligned(8), may_alias));
  constexpr size_t kParts = 8;
  Part sum[kParts] = {};
  for (size_t i = 0; i + sizeof(sum) <= bytes; i += sizeof(sum)) {
    for (size_t j = 0; j < kParts; ++j) {
      sum[j] ^= *reinterpret_cast<const Part*>(begin + i + j * sizeof(Part));
    }
  }
  uint64_t result = 0;
  for (const Part& part : sum) result ^= part[0] ^ part[1];
  return result;
}

double measure_read_rate(int32_t num_threads) {
  const size_t wanted = std::max(kMinReadBytes, kCachesToRead * last_level_cache_bytes());
  const HostBuffer buffer(std::min(wanted, physical_memory_bytes() / 4));
  std::memset(buffer.data(), 1, buffer.bytes());  // real memory, not the system's page of zeros
  const size_t share = buffer.bytes() / static_cast<size_t>(num_threads);
  std::atomic<uint64_t> sink = 0;
  const double seconds = fastest_pass(kReadSeconds, [&] {
    return run_on_threads(num_threads, [&](int32_t thread) {
      const auto* begin = static_cast<const std::byte*>(buffer.data());
      sink += read_lines(begin + share * static_cast<size_t>(thread), share);
    });
  });
  return static_cast<double>(share) * num_threads / seconds;
}

double measure_compute_rate(int32_t num_threads, const FmaChains& chains) {
  std::atomic<float> sink = 0.0f;
  const double seconds = fastest_pass(kComputeSeconds, [&] {
    return run_on_threads(num_threads, [&](int32_t) { sink = chains.run(kFmaRounds); });
  });
  return static_cast<double>(chains.flops_per_round) * kFmaRounds * num_threads / seconds;
}

}  // namespace

double Ceilings::roof_seconds(double bytes, double flops, const std::string& kernel) const {
  const bool bf16 = bf16_flops_per_second > 0.0 && kernel.find("bf16_dot") != std::string::npos;
  return std::max(bytes / read_bytes_per_second,
                  flops / (bf16 ? bf16_flops_per_second : flops_per_second));
}

Ceilings measure_ceilings(int32_t num_threads) {
  const FmaChains& chains = widest_fma_chains();
  const FmaChains* bf16_dot = bf16_dot_chains();
  return {.num_threads = num_threads,
          .read_bytes_per_second = measure_read_rate(num_threads),
          .flops_per_second = measure_compute_rate(num_threads, chains),
          .vector_isa = chains.isa,
          .bf16_flops_per_second =
              bf16_dot != nullptr ? measure_compute_rate(num_threads, *bf16_dot) : 0.0};
}

std::string describe(const Ceilings& ceilings) {
  const std::string bf16 =
      ceilings.bf16_flops_per_second > 0.0
          ? fmt::format(", bf16 products {:.3f}", ceilings.bf16_flops_per_second / 1e12)
          : "";
  return fmt::format("read {:.1f} GB/s, f32 multiply-add {:.3f} TFLOP/s ({}){}, {} thread{}",
                     ceilings.read_bytes_per_second / 1e9, ceilings.flops_per_second / 1e12,
                     ceilings.vector_isa, bf16, ceilings.num_threads,
                     ceilings.num_threads == 1 ? "" : "s");
}

Json to_json(const Ceilings& ceilings) {
  return {{"num_threads", ceilings.num_threads},
          {"read_gb_per_s", ceilings.read_bytes_per_second / 1e9},
          {"f32_fma_tflop_per_s", ceilings.flops_per_second / 1e12},
          {"vector_isa", ceilings.vector_isa},
          {"bf16_dot_tflop_per_s", ceilings.bf16_flops_per_second / 1e12}};
}

}  // namespace pagoda::tools
