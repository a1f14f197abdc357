// Naive KV-cache operations in double precision, written from docs/semantics.md alone, and memory
// that knows which of its bytes a call was to write.
#ifndef PAGODA_TESTS_KV_ORACLE_H_
#define PAGODA_TESTS_KV_ORACLE_H_

#include <cstdint>
#include <vector>

#include "cases_memory.h"
#include "pagoda/kv_cache.h"

namespace pagoda::testing {

// Ways to lay out pages [num_pages, page_size, num_kv_heads, head_dim].
inline const std::vector<Placement> kPagePlacements = {
    {},
    {.order = {0, 2, 1, 3}},
    {.order = {0, 3, 1, 2}},  // channels outermost: no two of them lie together
    {.order = {2, 0, 1, 3}},  // heads outside of the pages
    {.gap = 3},
    {.gap = 16},
    {.inner_stride = 2},
};

// A row, and how far from it single-precision arithmetic may end.
struct OracleRow {
  std::vector<double> values;
  std::vector<double> errors;
};

// Row (i, j) of [.., .., head_dim] as it is stored.
OracleRow stored_row(const TensorView& rows, int64_t i, int64_t j);

// The same after the rotation of token i.
OracleRow rotated_row(const TensorView& rows, int64_t i, int64_t j, const Rope& rope);

struct OracleMerge {
  OracleRow out;
  double lse;
};
OracleMerge merged_row(const std::vector<AttentionState>& states, int64_t token, int64_t head,
                       LseLayout layout);

// Address of the lse of a row.
float* lse_at(const TensorView& lse, int64_t token, int64_t head, LseLayout layout);

// Whether `element` is what a value within `error` of `value` rounds to.
bool is_rounding_of(DType dtype, const void* element, double value, double error);

// Element (i, j, k, l) <- value, rounded.
void set_element(const TensorView& view, double value, int64_t i, int64_t j = 0, int64_t k = 0,
                 int64_t l = 0);

// Fills every element with what `draw` returns.
template <class Draw>
void fill(const TensorView& view, Draw draw) {
  const auto extent = [&](int axis) { return axis < view.rank ? view.shape[axis] : 1; };
  for (int64_t i = 0; i < extent(0); ++i) {
    for (int64_t j = 0; j < extent(1); ++j) {
      for (int64_t k = 0; k < extent(2); ++k) {
        for (int64_t l = 0; l < extent(3); ++l) set_element(view, draw(), i, j, k, l);
      }
    }
  }
}

// `count` indices of `axis` from `first` on.
TensorView slice(TensorView view, int axis, int64_t first, int64_t count);

// A tensor in poisoned memory between guards.
class WatchedTensor {
 public:
  WatchedTensor(DType dtype, const std::vector<int64_t>& shape, const Placement& placement = {});

  const TensorView& view() const { return view_; }

  // Remembers all bytes as they are now; none of them is to be written.
  void watch();
  // `count` elements from `begin` on may have been written, if they lie in here.
  void allow(const void* begin, DType dtype, int64_t count);
  bool rest_is_intact() const;

 private:
  TensorView view_;
  Buffer buffer_;
  std::vector<uint8_t> before_;
  std::vector<uint8_t> is_allowed_;
};

enum class PagesLayout { kNhd, kHnd, kInterleaved, kPadded };
inline constexpr PagesLayout kPagesLayouts[] = {PagesLayout::kNhd, PagesLayout::kHnd,
                                                PagesLayout::kInterleaved, PagesLayout::kPadded};

// K and V pages of one shape, each in a tensor of its own or, interleaved, both in one.
class WatchedPages {
 public:
  // [num_pages, page_size, num_kv_heads, head_dim]
  WatchedPages(DType dtype, const std::vector<int64_t>& shape, PagesLayout layout);

  const TensorView& k() const { return k_; }
  const TensorView& v() const { return v_; }
  void watch();
  void allow(const void* begin, DType dtype, int64_t count);
  bool rest_is_intact() const;

 private:
  std::vector<WatchedTensor> tensors_;
  TensorView k_;
  TensorView v_;
};

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_KV_ORACLE_H_
