#include "rates.h"

#include <time.h>

#include <cstring>

namespace pagoda::tools {
namespace {

constexpr size_t kMinReadBytes = size_t{256} << 20;
constexpr size_t kCachesToRead = 2;  // last-level caches: a cyclic pass finds little left in them
constexpr int64_t kFmaRounds = 2'000'000;  // some ms, beside which the start of a thread is nothing

size_t bytes_to_read() {
  return std::min(std::max(kMinReadBytes, kCachesToRead * last_level_cache_bytes()),
                  physical_memory_bytes() / 4);
}

}  // namespace

double thread_cpu_seconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

SequentialRead::SequentialRead(HugePages huge_pages) : buffer_(bytes_to_read(), huge_pages) {
  std::memset(buffer_.data(), 1, buffer_.bytes());  // real memory, not the system's page of zeros
}

Rate SequentialRead::bytes_per_second(int32_t num_threads, double min_seconds) const {
  const size_t share =
      buffer_.bytes() / static_cast<size_t>(num_threads) / kReadStepBytes * kReadStepBytes;
  std::atomic<uint64_t> sink = 0;
  const Pass pass = fastest_pass(min_seconds, [&] {
    return run_on_threads(num_threads, [&](int32_t thread) {
      const auto* begin = static_cast<const std::byte*>(buffer_.data());
      sink += read_bytes(begin + share * static_cast<size_t>(thread), share);
    });
  });
  return {static_cast<double>(share) * num_threads / pass.seconds, pass.cpu_share};
}

Rate flops_per_second(const FmaChains& chains, int32_t num_threads, double min_seconds) {
  std::atomic<float> sink = 0.0f;
  const Pass pass = fastest_pass(min_seconds, [&] {
    return run_on_threads(num_threads, [&](int32_t) { sink = chains.run(kFmaRounds); });
  });
  return {static_cast<double>(chains.flops_per_round) * kFmaRounds * num_threads / pass.seconds,
          pass.cpu_share};
}

}  // namespace pagoda::tools
