// Softmax-weighted merge of partial attention results.
#ifndef PAGODA_CUDA_KERNELS_CACHE_MERGE_STATES_H_
#define PAGODA_CUDA_KERNELS_CACHE_MERGE_STATES_H_

#include <cuda_runtime_api.h>

#include "core/attention_params.h"

namespace pagoda::cuda {

struct MergeState {
  RowsParams out;  // [num_tokens, num_heads, head_dim]
  float* lse;      // null = not wanted, of the merged state only
  int64_t lse_token_stride;
  int64_t lse_head_stride;
};

// What a launch can carry: kernel parameters are at most 32764 bytes.
constexpr int32_t kMaxMergedStates = 500;

struct MergeParams {
  MergeState merged;
  int32_t num_states;
  int32_t num_tokens;
  int32_t num_heads;
  int32_t head_dim;
  bool in_vectors;  // states of one type, and all rows aligned for chunks of 8
};

// One launch. num_states <= kMaxMergedStates; tokens times heads are below 2^31.
cudaError_t launch_merge_states(const MergeParams& params, const MergeState* states,
                                cudaStream_t stream);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_CACHE_MERGE_STATES_H_
