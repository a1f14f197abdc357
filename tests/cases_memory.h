// Memory and random numbers of the test cases.
#ifndef PAGODA_TESTS_CASES_MEMORY_H_
#define PAGODA_TESTS_CASES_MEMORY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pagoda/types.h"

namespace pagoda::testing {

// All ones: NaN in every float format, -1 as an integer.
constexpr uint8_t kPoison = 0xff;

// Poisoned bytes, 64-byte aligned, with `guard_bytes` more of them before and after. Without a
// guard the allocation is exact, so that a sanitizer sees the first byte read too far.
class Buffer {
 public:
  explicit Buffer(size_t bytes, size_t guard_bytes = 0);

  uint8_t* data() { return storage_.get() + guard_bytes_; }
  const uint8_t* data() const { return storage_.get() + guard_bytes_; }
  size_t size() const { return bytes_; }
  void poison();
  bool guards_intact() const;

 private:
  struct Free {
    void operator()(uint8_t* bytes) const;
  };
  size_t bytes_;
  size_t guard_bytes_;
  std::unique_ptr<uint8_t, Free> storage_;
};

constexpr size_t kGuardBytes = 256;

// How a tensor lies in memory: its axes from the outermost to the innermost, elements left free
// between the rows of every axis, and the stride of the innermost.
struct Placement {
  std::vector<int> order = {};  // empty = 0, 1, 2, ...
  int64_t gap = 0;
  int64_t inner_stride = 1;
};

// A view without memory, and the bytes that it needs.
TensorView placed(DType dtype, const std::vector<int64_t>& shape, const Placement& placement);
size_t bytes_spanned(const TensorView& view);

// Address of an element.
void* element(const TensorView& view, int64_t i, int64_t j = 0, int64_t k = 0, int64_t l = 0);

template <class T>
T& element_as(const TensorView& view, int64_t i, int64_t j = 0, int64_t k = 0) {
  return *static_cast<T*>(element(view, i, j, k));
}

// Owns the memory of tensors, poisoned at first.
class TensorPool {
 public:
  TensorView make(DType dtype, const std::vector<int64_t>& shape, const Placement& placement = {});

 private:
  std::vector<Buffer> buffers_;
};

// The same numbers on every platform. Each `stream` of a seed is a sequence of its own, so that a
// case keeps its q, K and V when another of its features is switched off.
class Random {
 public:
  Random(uint32_t seed, const std::string& stream);

  double normal();   // mean 0, variance 1
  double uniform();  // [0, 1)
  int64_t below(int64_t end) { return static_cast<int64_t>(next() % static_cast<uint64_t>(end)); }
  int64_t between(int64_t first, int64_t last) { return first + below(last - first + 1); }
  bool chance(double probability) { return uniform() < probability; }

  template <class T>
  const T& pick(const std::vector<T>& values) {
    return values[below(static_cast<int64_t>(values.size()))];
  }
  template <class T>
  void shuffle(std::vector<T>* values) {
    for (size_t i = values->size(); i > 1; --i) std::swap((*values)[i - 1], (*values)[below(i)]);
  }

 private:
  uint64_t next();  // SplitMix64

  uint64_t state_;
};

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_CASES_MEMORY_H_
