// A small valid problem of every argument check's test, with its memory.
#ifndef PAGODA_TESTS_UNIT_VALID_PROBLEM_H_
#define PAGODA_TESTS_UNIT_VALID_PROBLEM_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <vector>

#include "pagoda/attention.h"

namespace pagoda::testing {

// Memory that views point into.
class Arena {
 public:
  // Zeros, 16-byte aligned; a stride's worth of room to spare for views that are mutated.
  TensorView tensor(DType dtype, std::initializer_list<int64_t> shape) {
    TensorView view = TensorView::contiguous(nullptr, dtype, shape);
    view.data = room(static_cast<size_t>(view.num_elements()) * size_of(dtype));
    return view;
  }

  template <class T>
  TensorView vector(DType dtype, std::initializer_list<T> values) {
    TensorView view = tensor(dtype, {static_cast<int64_t>(values.size())});
    std::copy(values.begin(), values.end(), static_cast<T*>(view.data));
    return view;
  }
  TensorView ints(std::initializer_list<int32_t> values) {
    return vector<int32_t>(DType::kInt32, values);
  }
  TensorView floats(std::initializer_list<float> values) {
    return vector<float>(DType::kFloat32, values);
  }

 private:
  struct alignas(16) Block {
    unsigned char bytes[16];
  };
  void* room(size_t bytes) { return memory_.emplace_back(bytes / sizeof(Block) + 2).data(); }

  std::deque<std::vector<Block>> memory_;
};

inline TensorView reshaped(const TensorView& view, std::initializer_list<int64_t> shape) {
  return TensorView::contiguous(view.data, view.dtype, shape, view.device);
}

// 3 sequences of 4, 1 and 4 new tokens and 10, 5 and 12 keys; 4 query heads on 2 KV heads, head_dim
// 16, 8 pages of 4 tokens, bf16.
struct ValidProblem {
  static constexpr int64_t kTokens = 9, kSeqs = 3, kQHeads = 4, kKvHeads = 2, kHeadDim = 16;
  static constexpr int64_t kPages = 8, kPageSize = 4, kMaxPages = 3;

  Arena arena;
  AttentionProblem problem;

  explicit ValidProblem(DType q_dtype = DType::kBFloat16, DType kv_dtype = DType::kBFloat16) {
    const DType out_dtype = q_dtype == DType::kFloat8E4M3 ? DType::kBFloat16 : q_dtype;
    problem.q = arena.tensor(q_dtype, {kTokens, kQHeads, kHeadDim});
    problem.out = arena.tensor(out_dtype, {kTokens, kQHeads, kHeadDim});
    problem.lse = arena.tensor(DType::kFloat32, {kQHeads, kTokens});
    problem.kv.k_pages = arena.tensor(kv_dtype, {kPages, kPageSize, kKvHeads, kHeadDim});
    problem.kv.v_pages = arena.tensor(kv_dtype, {kPages, kPageSize, kKvHeads, kHeadDim});
    problem.kv.block_table = reshaped(arena.ints({3, 1, 7, 0, 2, -1, 6, 5, 4}), {kSeqs, kMaxPages});
    problem.cu_seqlens_q = arena.ints({0, 4, 5, 9});
    problem.seqused_k = arena.ints({10, 5, 12});
    if (kv_dtype == DType::kInt8) use_token_scales();
  }

  void use_token_scales() {
    problem.kv.k_token_scale = arena.tensor(DType::kFloat32, {kPages, kPageSize, kKvHeads});
    problem.kv.v_token_scale = arena.tensor(DType::kFloat32, {kPages, kPageSize, kKvHeads});
  }

  // The same table in CSR form.
  void use_csr() {
    problem.kv.block_table = {};
    problem.kv.page_indptr = arena.ints({0, 3, 5, 8});
    problem.kv.page_indices = arena.ints({3, 1, 7, 0, 2, 6, 5, 4});
  }
};

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_UNIT_VALID_PROBLEM_H_
