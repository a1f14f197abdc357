// Where the scales of quantised tensors enter: those of q and K into the softmax scale, those of V
// and out into the epilogue. Scales per token are applied to single logits, and to single weights
// or values of V, instead. How a scale per token is made is here too.
#ifndef PAGODA_SEMANTICS_QUANT_H_
#define PAGODA_SEMANTICS_QUANT_H_

#include "core/arith.h"
#include "core/attention_params.h"
#include "core/dtype.h"
#include "core/portability.h"

namespace pagoda {

// softmax_scale * q_scale * k_scale.
PAGODA_HD float logit_scale(const AttentionParams& params, int32_t seq, int32_t kv_head) {
  return params.score.softmax_scale * scale_of(params.q_scale, seq, kv_head) *
         scale_of(params.kv.k_scale, seq, kv_head);
}

// v_scale / out_scale.
PAGODA_HD float output_scale(const AttentionParams& params, int32_t seq, int32_t kv_head) {
  const float v_scale = scale_of(params.kv.v_scale, seq, kv_head);
  return params.out_scale != nullptr ? v_scale / *params.out_scale : v_scale;
}

// The largest finite value of an 8-bit type.
PAGODA_HD float largest_stored(DType dtype) {
  if (dtype == DType::kFloat8E4M3) return kE4M3Max;
  return dtype == DType::kFloat8E5M2 ? kE5M2Max : kInt8Max;
}

// A magnitude as bits, which order as the floats do; that of NaN does not count.
PAGODA_HD int32_t magnitude_bits(float x) {
  constexpr int32_t kInfinityBits = 0x7f800000;
  const int32_t bits = bit_cast<int32_t>(x) & 0x7fffffff;
  return bits > kInfinityBits ? 0 : bits;
}

// The scale of a row whose largest magnitude has these bits; finite even if that is not.
PAGODA_HD float token_scale_of(int32_t largest_bits, DType dtype) {
  constexpr float kLargestFloat = 0x1.fffffep127f;
  const float largest = min_of(bit_cast<float>(largest_bits), kLargestFloat);
  return max_of(largest / largest_stored(dtype), 1e-6f);
}

}  // namespace pagoda

#endif  // PAGODA_SEMANTICS_QUANT_H_
