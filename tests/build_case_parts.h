// The parts of a built case.
#ifndef PAGODA_TESTS_BUILD_CASE_PARTS_H_
#define PAGODA_TESTS_BUILD_CASE_PARTS_H_

#include <string>

#include "cases.h"
#include "cases_memory.h"

namespace pagoda::testing {

// Elements left free between rows where a case has gaps: 16 bytes or more in every dtype.
constexpr int64_t kRowGap = 16;

// Every other seed has gaps between rows and elements of its tensors.
inline bool has_gaps(const Case& c) {
  return c.layout == KvLayout::kPadded || c.seed % 2 == 0;
}

// For tensors with one axis, and those whose last stride is free.
inline Placement loose(const Case& c) {
  return has_gaps(c) ? Placement{.gap = 3, .inner_stride = 2} : Placement{};
}

// Dtypes that want a scale to use their range.
inline bool is_quantised(DType dtype) {
  return size_of(dtype) == 1;
}

// Channel `d` of a row of q or K: normal, but for the one that makes extreme scores.
double draw_query(const Case& c, int64_t d, Random* random);
double draw_key(const Case& c, int64_t d, Random* random);
bool has_large_channel(const Case& c);

// A scale tensor of `kind` for a tensor of `dtype`, and the value its elements scatter around.
TensorView make_scale(const Case& c, ScaleKind kind, DType dtype, const std::string& stream,
                      TensorPool* pool);
double nominal_scale(const Case& c, ScaleKind kind, DType dtype);
// Makes some scales 0 if `zero` or all of them are wanted: the first in use, half of the others.
void make_zeros(const Case& c, ZeroScales zero, const TensorView& scale);

PagedKvCache build_kv(const Case& c, TensorPool* pool);
AttentionMask build_mask(const Case& c, TensorPool* pool);
// Soft cap, ALiBi, bias, sinks.
void build_score(const Case& c, TensorPool* pool, AttentionProblem* problem);

// Sum of query lengths, and the longest lengths.
int32_t total_q(const Case& c);
int32_t longest_q(const Case& c);
int32_t longest_k(const Case& c);

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_BUILD_CASE_PARTS_H_
