// The online softmax. Maxima are kept in base 2 (log2e * logit); sums and outputs are relative to
// the maximum. Nothing seen yet is {-inf, 0}.
#ifndef PAGODA_SEMANTICS_SOFTMAX_H_
#define PAGODA_SEMANTICS_SOFTMAX_H_

#include "core/arith.h"
#include "core/portability.h"
#include "semantics/score.h"

namespace pagoda {

// What exponents are taken relative to: the maximum, or 0 while it is -inf, so that
// exp2(-inf - anchor) is 0 and never NaN. The maximum itself keeps its -inf: a floor at 0 would
// make rows underflow whose true logits are all very negative.
template <class F>
PAGODA_HD F softmax_anchor(F max_log2) {
  return select(max_log2 == F(-kInfinity), F(0.0f), max_log2);
}

// exp2(logit - max). A NaN logit gives NaN.
template <class F>
PAGODA_HD F softmax_weight(F logit_log2, F anchor) {
  return exp2_of(logit_log2 - anchor);
}

// 2^(x * scale).
PAGODA_HD float exp2_of(float x, float scale) {
  return exp2_of(x * scale);
}

// exp2(to_log2 * (x - max)) of scores x that are logits / (to_log2 / log2e). The difference comes
// first: times to_log2, two large scores that are close would lose what they differ by.
template <class F>
PAGODA_HD F softmax_weight(F x, F anchor, F to_log2) {
  return exp2_of(x - anchor, to_log2);
}

// One row over some of its keys: the maximum logit and the sum of weights relative to it.
struct SoftmaxState {
  float max_log2 = -kInfinity;
  float sum = 0.0f;
};

// The state of sums relative to `max`, a score as softmax_weight() takes it; sums and outputs are
// still to be multiplied by `factor`: what rounding takes off a large maximum.
struct RoundedState {
  SoftmaxState state;
  float factor;
};

PAGODA_HD RoundedState rounded_state(float max, float sum, float to_log2) {
  constexpr float kNoFraction = 16777216.0f;  // 2^24: neighbouring maxima are more than 1 apart
  const double exact = static_cast<double>(max) * to_log2;
  const auto max_log2 = static_cast<float>(exact);
  const bool has_fraction = max_log2 > -kNoFraction && max_log2 < kNoFraction;
  const float factor = has_fraction ? exp2_of(static_cast<float>(exact - max_log2)) : 1.0f;
  return {{max_log2, sum * factor}, factor};
}

// How to join two states over disjoint keys: joined = a * a_factor + b * b_factor, for sums and
// for unnormalised outputs. Joining with an empty state changes no bit of the other.
struct SoftmaxJoin {
  SoftmaxState joined;
  float a_factor;
  float b_factor;
};

PAGODA_HD SoftmaxJoin join(SoftmaxState a, SoftmaxState b) {
  // !(a < b) keeps a NaN maximum of a; one of b shows in its sum.
  const float max_log2 = a.max_log2 < b.max_log2 ? b.max_log2 : a.max_log2;
  const float anchor = softmax_anchor(max_log2);
  SoftmaxJoin result;
  result.a_factor = exp2_of(a.max_log2 - anchor);
  result.b_factor = exp2_of(b.max_log2 - anchor);
  result.joined = {max_log2, a.sum * result.a_factor + b.sum * result.b_factor};
  return result;
}

// What a row's unnormalised output is multiplied by, and its log-sum-exp in natural units.
struct SoftmaxResult {
  float output_factor;
  float lse;
};

// `sink` is one more logit, in natural units, of the denominator only; -inf = none. A row without
// a visible key gives factor 0 and lse = sink.
PAGODA_HD SoftmaxResult finalize(SoftmaxState state, float sink) {
  const SoftmaxJoin with_sink = join(state, {sink * kLog2e, sink == -kInfinity ? 0.0f : 1.0f});
  const SoftmaxState total = with_sink.joined;
  SoftmaxResult result;
  if (total.sum == 0.0f) {
    result = {0.0f, -kInfinity};
  } else {
    result = {with_sink.a_factor / total.sum, (total.max_log2 + log2_of(total.sum)) * kLn2};
  }
  // The round trip through base 2 would cost the last bit of a sink that stands alone.
  if (state.sum == 0.0f) result = {0.0f, sink};
  return result;
}

}  // namespace pagoda

#endif  // PAGODA_SEMANTICS_SOFTMAX_H_
