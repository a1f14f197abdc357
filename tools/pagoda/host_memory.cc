#include "host_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "error.h"
#include "units.h"

namespace pagoda::tools {

HostBuffer::HostBuffer(size_t bytes, HugePages huge_pages) : bytes_(bytes) {
  if (bytes == 0) return;
  void* data =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, /*fd=*/-1, 0);
  if (data == MAP_FAILED) {
    throw BadInput(fmt::format("memory: got no {}; use fewer or shorter sequences",
                               format_bytes(static_cast<double>(bytes))));
  }
  madvise(data, bytes, huge_pages == HugePages::kAdvised ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  data_ = data;
}

HostBuffer::~HostBuffer() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

size_t physical_memory_bytes() {
  return static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

size_t last_level_cache_bytes() {
  constexpr size_t kGuess = size_t{32} << 20;
  size_t largest = 0;
  for (int level : {_SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE, _SC_LEVEL4_CACHE_SIZE}) {
    largest = std::max(largest, static_cast<size_t>(std::max(0L, sysconf(level))));
  }
  return largest > 0 ? largest : kGuess;
}

}  // namespace pagoda::tools
