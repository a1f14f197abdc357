// Where the scales of quantised tensors enter: those of q and K into the softmax scale, those of V
// and out into the epilogue. Scales per token are applied to single logits, and to single weights
// or values of V, instead.
#ifndef PAGODA_SEMANTICS_QUANT_H_
#define PAGODA_SEMANTICS_QUANT_H_

#include "core/attention_params.h"
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

}  // namespace pagoda

#endif  // PAGODA_SEMANTICS_QUANT_H_
