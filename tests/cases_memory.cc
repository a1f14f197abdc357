#include "cases_memory.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <numbers>
#include <random>

namespace pagoda::testing {
namespace {

constexpr std::align_val_t kAlign{64};

// Drawing from a table costs a tenth of computing a logarithm and a cosine each time.
const std::vector<double>& normal_table() {
  static const std::vector<double> kTable = [] {
    std::mt19937_64 engine;
    const auto uniform = [&] { return (static_cast<double>(engine() >> 11) + 0.5) * 0x1p-53; };
    std::vector<double> table(1 << 16);
    for (double& x : table) {
      const double radius = std::sqrt(-2.0 * std::log(uniform()));
      x = radius * std::cos(2.0 * std::numbers::pi * uniform());
    }
    return table;
  }();
  return kTable;
}

}  // namespace

Buffer::Buffer(size_t bytes, size_t guard_bytes)
    : bytes_(bytes),
      guard_bytes_(guard_bytes),
      storage_(static_cast<uint8_t*>(::operator new(bytes + 2 * guard_bytes, kAlign))) {
  std::memset(storage_.get(), kPoison, bytes + 2 * guard_bytes);
}

void Buffer::Free::operator()(uint8_t* bytes) const {
  ::operator delete(bytes, kAlign);
}

void Buffer::poison() {
  std::memset(data(), kPoison, bytes_);
}

bool Buffer::guards_intact() const {
  const auto poisoned = [](uint8_t byte) { return byte == kPoison; };
  const uint8_t* begin = storage_.get();
  return std::all_of(begin, data(), poisoned) &&
         std::all_of(data() + bytes_, data() + bytes_ + guard_bytes_, poisoned);
}

TensorView placed(DType dtype, const std::vector<int64_t>& shape, const Placement& placement) {
  TensorView view{.dtype = dtype, .rank = static_cast<int32_t>(shape.size())};
  std::copy(shape.begin(), shape.end(), view.shape);
  int64_t stride = placement.inner_stride;
  for (int i = view.rank - 1; i >= 0; --i) {
    const int axis = placement.order.empty() ? i : placement.order[i];
    view.stride[axis] = stride;
    stride = stride * shape[axis] + placement.gap;
  }
  return view;
}

size_t bytes_spanned(const TensorView& view) {
  if (view.num_elements() == 0) return 0;
  int64_t last = 0;
  for (int i = 0; i < view.rank; ++i) last += (view.shape[i] - 1) * view.stride[i];
  return static_cast<size_t>(last + 1) * size_of(view.dtype);
}

void* element(const TensorView& view, int64_t i, int64_t j, int64_t k, int64_t l) {
  const int64_t offset =
      i * view.stride[0] + j * view.stride[1] + k * view.stride[2] + l * view.stride[3];
  return static_cast<char*>(view.data) + offset * static_cast<int64_t>(size_of(view.dtype));
}

TensorView TensorPool::make(DType dtype, const std::vector<int64_t>& shape,
                            const Placement& placement) {
  TensorView view = placed(dtype, shape, placement);
  view.data = buffers_.emplace_back(bytes_spanned(view)).data();
  return view;
}

Random::Random(uint32_t seed, const std::string& stream) {
  state_ = 14695981039346656037u ^ seed;  // FNV-1a
  for (const char c : stream) state_ = (state_ ^ static_cast<uint8_t>(c)) * 1099511628211u;
}

double Random::normal() {
  return normal_table()[next() >> 48];
}

double Random::uniform() {
  return static_cast<double>(next() >> 11) * 0x1p-53;
}

uint64_t Random::next() {
  uint64_t x = state_ += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace pagoda::testing
