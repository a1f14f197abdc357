// From a dot product to the logit that the softmax sees, in the contract's order: scale, soft cap,
// ALiBi, bias. The mask comes last and is in mask.h. F is float, or a vector of floats that has
// the same operators and its own exp2_of, tanh_of, sqrt_of and select.
#ifndef PAGODA_SEMANTICS_SCORE_H_
#define PAGODA_SEMANTICS_SCORE_H_

#include "core/arith.h"
#include "core/attention_params.h"
#include "core/dtype.h"
#include "core/portability.h"
#include "semantics/mask.h"

namespace pagoda {

PAGODA_HD float tanh_of(float x) {
  return __builtin_tanhf(x);
}
PAGODA_HD float sqrt_of(float x) {
  return __builtin_sqrtf(x);
}
PAGODA_HD float exp2_of(float x) {
  return __builtin_exp2f(x);
}
PAGODA_HD float log2_of(float x) {
  return __builtin_log2f(x);
}
PAGODA_HD float select(bool condition, float yes, float no) {
  return condition ? yes : no;
}

// x <- c * tanh(x / c); a true tanh, so finite for every finite x.
struct SoftCap {
  PAGODA_HD static bool active(const ScoreParams& score) { return score.logits_soft_cap > 0.0f; }

  template <class F>
  PAGODA_HD static F apply(const ScoreParams& score, F x) {
    // Of a subnormal cap the inverse is infinite, and 0 times that no number.
    const float inverse = min_of(1.0f / score.logits_soft_cap, 0x1.fffffep127f);
    return F(score.logits_soft_cap) * tanh_of(x * F(inverse));
  }
};

// x <- x + slope * (t - p); the square-root form x - slope * sqrt(p - t) for t <= p.
struct Alibi {
  PAGODA_HD static bool active(const ScoreParams& score) { return score.alibi_slopes != nullptr; }

  PAGODA_HD static float slope(const ScoreParams& score, int32_t q_head) {
    return active(score) ? score.alibi_slopes[q_head * score.alibi_slopes_stride] : 0.0f;
  }

  // distance = t - p.
  template <class F>
  PAGODA_HD static F apply(const ScoreParams& score, F x, F slope, F distance) {
    if (!score.alibi_sqrt) return x + slope * distance;
    const F behind = select(distance < F(0.0f), F(0.0f) - distance, F(0.0f));
    return x - slope * sqrt_of(behind);
  }
};

// x <- x + bias[seq, i, t - context_len], for the step's own keys.
struct Bias {
  PAGODA_HD static bool active(const ScoreParams& score) { return score.bias != nullptr; }

  PAGODA_HD static float value(const ScoreParams& score, int32_t seq, int32_t q_idx,
                               int32_t kv_idx) {
    if (kv_idx < 0 || kv_idx >= score.bias_columns || q_idx >= score.bias_rows) return 0.0f;
    return score.bias[seq * score.bias_seq_stride + q_idx * score.bias_row_stride +
                      kv_idx * score.bias_column_stride];
  }
};

// One more logit of the denominator, in natural units; -inf = none.
struct Sink {
  PAGODA_HD static float value(const ScoreParams& score, int32_t q_head) {
    if (score.sinks == nullptr) return -kInfinity;
    return load_wide_float(score.sinks, score.sinks_dtype, q_head * score.sinks_stride);
  }
};

// The part of `kv` whose keys no bias can mask: one of -inf hides its key.
PAGODA_HD KvRange without_bias(const ScoreParams& score, const MaskRule& rule, KvRange kv) {
  if (Bias::active(score)) kv.end = min_of(kv.end, max_of(rule.context_len(), 0));
  return kv;
}

// True if the logit is softmax_scale * dot and nothing else, so that the scale can be folded into
// the exponent.
PAGODA_HD bool is_plain_score(const ScoreParams& score) {
  return !SoftCap::active(score) && !Alibi::active(score) && !Bias::active(score);
}

// Where a logit stands: everything that the transforms after the scale depend on.
template <class F>
struct ScorePlace {
  F slope;     // ALiBi slope of the query head
  F distance;  // t - p
  F bias;      // Bias::value, 0 where it has none
};

// The whole chain; `scale` is softmax_scale * q_scale * k_scale.
template <class F>
PAGODA_HD F logit(const ScoreParams& score, F dot, F scale, const ScorePlace<F>& place) {
  F x = dot * scale;
  if (SoftCap::active(score)) x = SoftCap::apply(score, x);
  if (Alibi::active(score)) x = Alibi::apply(score, x, place.slope, place.distance);
  if (Bias::active(score)) x = x + place.bias;
  return x;
}

}  // namespace pagoda

#endif  // PAGODA_SEMANTICS_SCORE_H_
