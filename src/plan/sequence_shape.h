// The lengths of one sequence of a batch.
#ifndef PAGODA_PLAN_SEQUENCE_SHAPE_H_
#define PAGODA_PLAN_SEQUENCE_SHAPE_H_

#include "core/attention_params.h"
#include "core/portability.h"

namespace pagoda {

struct SequenceShape {
  int32_t seq;
  int32_t first_token;
  int32_t q_len;
  int32_t k_len;
};

PAGODA_HD SequenceShape sequence_shape(const AttentionParams& params, int32_t seq) {
  const int32_t first = params.cu_seqlens_q[seq];
  return {seq, first, params.cu_seqlens_q[seq + 1] - first, params.seqused_k[seq]};
}

}  // namespace pagoda

#endif  // PAGODA_PLAN_SEQUENCE_SHAPE_H_
