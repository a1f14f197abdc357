// Pages of a KV cache in host memory.
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <utility>

#include "core/arith.h"
#include "core/checks.h"
#include "cpu/backend_cpu.h"

namespace pagoda {

void UnmapMemory::operator()(void* data) const {
  munmap(data, bytes);
}

namespace cpu {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;  // of x86-64, and of aarch64 with 4 KB pages
constexpr size_t kPartAlign = 4096;  // of each tensor: a page of memory holds parts of one only
// Between K and V, never touched and so never resident. Without it they may lie a large power of
// two apart; then a token's K and V are in one DRAM bank, in rows that close each other. 6 MB
// measured best (docs/performance_cpu.md).
constexpr size_t kGapBeforeV = 3 * kHugePageBytes;

using HostMemory = std::unique_ptr<void, UnmapMemory>;

// Zeroed memory on a huge-page boundary, whole huge pages; null if the system grants none.
HostMemory map_memory(size_t wanted) {
  const size_t bytes = round_up(wanted, kHugePageBytes);
  const size_t mapped = bytes + kHugePageBytes;
  void* data =
      mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, /*fd=*/-1, 0);
  if (data == MAP_FAILED) return {};
  // What lies before and behind the boundaries goes back.
  const auto begin = reinterpret_cast<uintptr_t>(data);
  const size_t before = round_up(begin, uintptr_t{kHugePageBytes}) - begin;
  std::byte* const memory = static_cast<std::byte*>(data) + before;
  if (before > 0) munmap(data, before);
  munmap(memory + bytes, mapped - bytes - before);
  // A system without huge pages refuses the advice, which changes nothing but speed.
  madvise(memory, bytes, MADV_HUGEPAGE);
  return HostMemory(memory, UnmapMemory{bytes});
}

// [num_pages, page_size, num_kv_heads] rows of so many elements, in the order that the layout
// wants.
TensorView view_rows(const MakeKvCache& args, DType dtype, int64_t row_elements) {
  const bool head_major = args.layout == KvLayout::kHnd;
  TensorView view{.dtype = dtype, .rank = 3};
  view.shape[0] = args.num_pages;
  view.stride[0] = int64_t{args.page_size} * args.num_kv_heads * row_elements;
  view.shape[1] = args.page_size;
  view.stride[1] = row_elements * (head_major ? 1 : args.num_kv_heads);
  view.shape[2] = args.num_kv_heads;
  view.stride[2] = row_elements * (head_major ? args.page_size : 1);
  return view;
}

TensorView view_pages(const MakeKvCache& args) {
  TensorView view = view_rows(args, args.dtype, args.head_dim);
  view.rank = 4;
  view.shape[3] = args.head_dim;
  view.stride[3] = 1;
  return view;
}

}  // namespace

Status make_kv_cache(const MakeKvCache& args, HostKvCache* cache) {
  PagedKvCache views;
  views.k_pages = views.v_pages = view_pages(args);
  if (args.token_scales || args.dtype == DType::kInt8) {
    views.k_token_scale = views.v_token_scale = view_rows(args, DType::kFloat32, 1);
  }
  TensorView* const parts[] = {&views.k_pages, &views.v_pages, &views.k_token_scale,
                               &views.v_token_scale};
  size_t offsets[std::size(parts)];
  size_t bytes = 0;
  for (size_t i = 0; i < std::size(parts); ++i) {
    if (parts[i] == &views.v_pages) bytes += kGapBeforeV;
    offsets[i] = bytes;
    if (parts[i]->rank == 0) continue;
    bytes += round_up(static_cast<size_t>(parts[i]->num_elements()) * size_of(parts[i]->dtype),
                      kPartAlign);
  }
  HostMemory memory = map_memory(bytes);
  if (memory == nullptr) {
    return invalid_argument("num_pages: got ", args.num_pages, ", which take ", bytes,
                            " bytes, wants no more than the system grants; ask for fewer pages");
  }
  for (size_t i = 0; i < std::size(parts); ++i) {
    if (parts[i]->rank > 0) parts[i]->data = static_cast<std::byte*>(memory.get()) + offsets[i];
  }
  *cache = {views, std::move(memory)};
  return {};
}

}  // namespace cpu
}  // namespace pagoda
