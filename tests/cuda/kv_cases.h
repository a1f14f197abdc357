// What the tests of the KV-cache operations draw their cases from.
#ifndef PAGODA_TESTS_CUDA_KV_CASES_H_
#define PAGODA_TESTS_CUDA_KV_CASES_H_

#include <cmath>
#include <vector>

#include "cuda/arena.h"
#include "kv_oracle.h"

namespace pagoda::testing {

inline const std::vector<DType> kWideTypes{DType::kFloat32, DType::kFloat16, DType::kBFloat16};
inline const std::vector<DType> kQuantisedTypes{DType::kFloat8E4M3, DType::kFloat8E5M2,
                                                DType::kInt8};
// Whole vectors and, at last, none.
inline const std::vector<int64_t> kHeadDims{8,   16,  24,  40,  64,  72, 80, 96,
                                            112, 128, 192, 256, 576, 7,  100};
inline const std::vector<int64_t> kPageSizes{1, 3, 16, 48, 64};

// K and V pages whose rows are aligned as CUDA wants them.
struct Pages {
  TensorView k;
  TensorView v;
};

inline Pages make_pages(Arena* arena, Random* random, DType dtype,
                        const std::vector<int64_t>& shape) {
  const int64_t row_elements = 16 / static_cast<int64_t>(size_of(dtype));
  const int64_t head_dim = shape[3];
  std::vector<int64_t> padded = shape;
  padded[3] = (head_dim + row_elements - 1) / row_elements * row_elements;
  Placement placement;
  const auto layout =
      random->pick(std::vector<PagesLayout>(std::begin(kPagesLayouts), std::end(kPagesLayouts)));
  if (layout == PagesLayout::kHnd) placement.order = {0, 2, 1, 3};
  if (layout == PagesLayout::kPadded) placement.gap = row_elements;
  if (layout == PagesLayout::kInterleaved) {
    const int64_t v_begin = padded[3];
    padded[3] *= 2;
    const TensorView both = arena->make(dtype, padded, placement);
    return {slice(both, 3, 0, head_dim), slice(both, 3, v_begin, head_dim)};
  }
  const TensorView k = arena->make(dtype, padded, placement);
  const TensorView v = arena->make(dtype, padded, placement);
  return {slice(k, 3, 0, head_dim), slice(v, 3, 0, head_dim)};
}

// Mostly ordinary numbers; `specials` mixes in the others.
inline double draw_value(Random* random, double magnitude, bool specials) {
  if (specials && random->chance(0.05)) {
    return random->pick(std::vector<double>{NAN, HUGE_VAL, -HUGE_VAL, 0.0, -0.0, 1e-30, 3e38});
  }
  return random->normal() * magnitude;
}

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_CUDA_KV_CASES_H_
