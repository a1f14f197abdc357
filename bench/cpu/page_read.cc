// Reads of pages and nothing else: what a decode kernel could reach if computing were free.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "micro.h"
#include "random_data.h"
#include "rates.h"

namespace pagoda::micro {
namespace {

using tools::HugePages;

// K or V of an 8-billion-parameter Llama 3, in 16 bits.
constexpr int64_t kHeads = 8;
constexpr int64_t kRowBytes = 128 * 2;
constexpr size_t kPagesAhead = 2;  // of prefetches

enum class Walk {
  kNhdByHead,  // token-major pages, all pages for one head, then for the next
  kHndByHead,  // head-major pages, in the same order
  kWholePages  // all heads of a page together, in the order of memory
};

const char* name_of(Walk walk) {
  switch (walk) {
    case Walk::kNhdByHead:
      return "nhd, by head";
    case Walk::kHndByHead:
      return "hnd, by head";
    case Walk::kWholePages:
      return "all heads";
  }
  return "";
}

struct Pages {
  const std::byte* data;
  std::vector<int32_t> order;
  int64_t page_size;  // tokens

  size_t page_bytes() const { return static_cast<size_t>(page_size * kHeads * kRowBytes); }
  const std::byte* at(size_t i) const {
    return data + static_cast<size_t>(order[i]) * page_bytes();
  }
};

struct Range {
  size_t begin, end;  // of Pages::order
};

// Rows of one head in a page: `count` runs of `bytes`, `stride` bytes apart.
struct Runs {
  int64_t count;
  size_t bytes;
  size_t stride;
  size_t head_stride;
};

Runs runs_of(Walk walk, int64_t page_size) {
  const auto row = static_cast<size_t>(kRowBytes);
  const auto rows = static_cast<size_t>(page_size);
  switch (walk) {
    case Walk::kNhdByHead:
      return {page_size, row, row * kHeads, row};
    case Walk::kHndByHead:
      return {1, rows * row, 0, rows * row};
    default:
      return {1, rows * row * kHeads, 0, 0};
  }
}

uint64_t read_pages(const Pages& pages, Range range, Walk walk, bool prefetch) {
  const Runs runs = runs_of(walk, pages.page_size);
  const size_t num_heads = walk == Walk::kWholePages ? 1 : kHeads;
  uint64_t result = 0;
  for (size_t head = 0; head < num_heads; ++head) {
    for (size_t i = range.begin; i < range.end; ++i) {
      const std::byte* page = pages.at(i) + head * runs.head_stride;
      const std::byte* ahead =
          pages.at(std::min(i + kPagesAhead, range.end - 1)) + head * runs.head_stride;
      for (int64_t run = 0; run < runs.count; ++run) {
        const size_t offset = static_cast<size_t>(run) * runs.stride;
        result ^= tools::read_bytes(page + offset, runs.bytes, prefetch ? ahead + offset : nullptr);
      }
    }
  }
  return result;
}

tools::Rate bytes_per_second(const Pages& pages, Walk walk, bool prefetch, int32_t num_threads,
                             double min_seconds) {
  const size_t share = pages.order.size() / static_cast<size_t>(num_threads);
  std::atomic<uint64_t> sink = 0;
  const tools::Pass pass = tools::fastest_pass(min_seconds, [&] {
    return tools::run_on_threads(num_threads, [&](int32_t thread) {
      const size_t begin = share * static_cast<size_t>(thread);
      sink += read_pages(pages, {begin, begin + share}, walk, prefetch);
    });
  });
  return {static_cast<double>(share * pages.page_bytes()) * num_threads / pass.seconds,
          pass.cpu_share};
}

}  // namespace

void run_page_read(const MicroOptions& options, Report* report) {
  for (const HugePages huge : {HugePages::kAdvised, HugePages::kForbidden}) {
    const tools::HostBuffer memory(static_cast<size_t>(options.megabytes) << 20, huge);
    std::memset(memory.data(), 1, memory.bytes());
    for (const int64_t page_size : {16, 32, 64, 128}) {
      Pages pages{static_cast<const std::byte*>(memory.data()), {}, page_size};
      tools::Random random(1);
      pages.order =
          tools::shuffled_range(static_cast<int32_t>(memory.bytes() / pages.page_bytes()), &random);
      for (const Walk walk : {Walk::kNhdByHead, Walk::kHndByHead, Walk::kWholePages}) {
        for (const bool prefetch : {false, true}) {
          for_each_thread_count(options.max_threads, [&](int32_t num_threads) {
            const tools::Rate rate =
                bytes_per_second(pages, walk, prefetch, num_threads, options.min_seconds);
            report->add("page_read",
                        {{"page", std::to_string(page_size)},
                         {"walk", name_of(walk)},
                         {"prefetch", prefetch ? "2 pages" : "none"},
                         {"memory", huge == HugePages::kAdvised ? "2 MB" : "4 KB"},
                         {"threads", std::to_string(num_threads)}},
                        {rate.per_second / 1e9, "GB/s", rate.cpu_share});
          });
        }
      }
    }
  }
}

}  // namespace pagoda::micro
