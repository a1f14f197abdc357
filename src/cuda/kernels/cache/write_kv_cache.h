// New K and V to pages, rotated and quantised on the way; q rotated in place.
#ifndef PAGODA_CUDA_KERNELS_CACHE_WRITE_KV_CACHE_H_
#define PAGODA_CUDA_KERNELS_CACHE_WRITE_KV_CACHE_H_

#include <cuda_runtime_api.h>

#include "core/attention_params.h"

namespace pagoda::cuda {

// K or V.
struct WriteSide {
  RowsParams rows;  // [num_tokens, num_kv_heads, head_dim]
  PagesParams pages;
  ScaleParams scale;
  TokenScaleParams token_scale;
};

struct RopeParams {
  const void* cos_sin;  // [max_position, rotary_dim]
  DType dtype;
  int64_t position_stride;   // of cos_sin
  const int64_t* positions;  // [num_tokens]
  int64_t positions_stride;
  int32_t rotary_dim;  // 0 = no rotation
  bool interleaved;
};

struct WriteParams {
  WriteSide k;
  WriteSide v;
  DType pages_dtype;
  const int64_t* slots;  // [num_tokens]
  int64_t slots_stride;
  RopeParams rope;
  RowsParams q;         // [num_tokens, num_q_heads, head_dim]
  int32_t num_q_heads;  // 0 = no q
  int32_t page_size;
  int32_t num_tokens;
  int32_t num_kv_heads;  // 0 = q only
  int32_t head_dim;
  bool in_vectors;  // all rows are aligned for chunks of 8, and no chunk is rotated in part
};

// One launch where q has k's type. Tokens times heads are below 2^31.
cudaError_t launch_write_kv_cache(const WriteParams& params, cudaStream_t stream);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_CACHE_WRITE_KV_CACHE_H_
