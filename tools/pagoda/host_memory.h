// Large blocks of host memory.
#ifndef PAGODA_TOOLS_PAGODA_HOST_MEMORY_H_
#define PAGODA_TOOLS_PAGODA_HOST_MEMORY_H_

#include <cstddef>
#include <utility>

#include "pagoda/types.h"

namespace pagoda::tools {

enum class HugePages { kAdvised, kForbidden };

// Zeroed memory straight from the system, page-aligned, in huge pages where the system grants them
// (as a serving engine would hold its cache). Throws BadInput if there is not enough.
class HostBuffer {
 public:
  HostBuffer() = default;
  explicit HostBuffer(size_t bytes, HugePages huge_pages = HugePages::kAdvised);
  ~HostBuffer();
  HostBuffer(HostBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  HostBuffer& operator=(HostBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Workspace workspace() const { return {data_, bytes_}; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

size_t physical_memory_bytes();

// Of the largest cache; a guess where the system does not say.
size_t last_level_cache_bytes();

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_HOST_MEMORY_H_
