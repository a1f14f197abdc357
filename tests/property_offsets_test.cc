// Elements more than 2^31 elements from the start of their tensor, on memory that is reserved but
// never touched except where the tensors' elements lie.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "step.h"

namespace pagoda::testing {
namespace {

// Address space without memory behind it.
class Reserved {
 public:
  explicit Reserved(size_t bytes) : bytes_(bytes) {
    data_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  ~Reserved() {
    if (ok()) munmap(data_, bytes_);
  }
  Reserved(const Reserved&) = delete;
  Reserved& operator=(const Reserved&) = delete;

  bool ok() const { return data_ != MAP_FAILED; }
  void* data() const { return data_; }

 private:
  size_t bytes_;
  void* data_;
};

// Moves `view`'s elements apart: each step along `axis` is `stride` elements. Copies row by row.
void spread(TensorView* view, int axis, int64_t stride, const Reserved& memory) {
  TensorView target = *view;
  target.data = memory.data();
  target.stride[axis] = stride;
  const bool pages = view->rank == 4;
  const int64_t row_bytes =
      view->shape[view->rank - 1] * static_cast<int64_t>(size_of(view->dtype));
  for (int64_t i = 0; i < view->shape[0]; ++i) {
    for (int64_t j = 0; j < view->shape[1]; ++j) {
      for (int64_t k = 0; k < (pages ? view->shape[2] : 1); ++k) {
        std::memcpy(element(target, i, j, pages ? k : 0), element(*view, i, j, pages ? k : 0),
                    row_bytes);
      }
    }
  }
  *view = target;
}

constexpr int64_t kFar = (int64_t{1} << 31) + 4096;  // elements

class FarOffsets : public ::testing::Test {
 protected:
  // Tensors spread along one axis must give the bits that dense ones give.
  void expect_unchanged(TensorView AttentionProblem::*tensor, int axis) {
    spread_and_compare([&](AttentionProblem* problem) { return &(problem->*tensor); }, axis);
  }

  template <class Select>
  void spread_and_compare(Select select, int axis) {
    Step step({.dtype = DType::kBFloat16}, {{1, 0, 3}, {2, 19, 20}});
    const RowBits reference = step.run();
    TensorView* view = select(&step.problem());
    const size_t bytes = static_cast<size_t>(view->shape[axis]) * kFar * size_of(view->dtype);
    const Reserved memory(bytes);
    if (!memory.ok()) GTEST_SKIP() << "cannot reserve " << bytes << " bytes of address space";
    spread(view, axis, kFar, memory);
    expect_same_bits(step.run(), reference);
  }
};

TEST_F(FarOffsets, Pages) {
  spread_and_compare([](AttentionProblem* problem) { return &problem->kv.k_pages; }, 0);
  spread_and_compare([](AttentionProblem* problem) { return &problem->kv.v_pages; }, 0);
}

TEST_F(FarOffsets, TokensInPages) {
  spread_and_compare([](AttentionProblem* problem) { return &problem->kv.k_pages; }, 1);
  spread_and_compare([](AttentionProblem* problem) { return &problem->kv.v_pages; }, 1);
}

TEST_F(FarOffsets, KvHeads) {
  spread_and_compare([](AttentionProblem* problem) { return &problem->kv.k_pages; }, 2);
  spread_and_compare([](AttentionProblem* problem) { return &problem->kv.v_pages; }, 2);
}

TEST_F(FarOffsets, QueryTokensAndHeads) {
  expect_unchanged(&AttentionProblem::q, 0);
  expect_unchanged(&AttentionProblem::q, 1);
}

}  // namespace
}  // namespace pagoda::testing
