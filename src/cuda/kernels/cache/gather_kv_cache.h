// Tokens of sequences from pages to contiguous rows, dequantised where the rows have another type.
#ifndef PAGODA_CUDA_KERNELS_CACHE_GATHER_KV_CACHE_H_
#define PAGODA_CUDA_KERNELS_CACHE_GATHER_KV_CACHE_H_

#include <cuda_runtime_api.h>

#include "core/attention_params.h"

namespace pagoda::cuda {

struct GatherParams {
  PagedKvParams kv;
  RowsParams k_out;  // [num_rows, num_kv_heads, head_dim]
  RowsParams v_out;
  const int32_t* cu_seqlens;  // [num_seqs + 1], which bounds the rows that are written
  const int32_t* seq_starts;  // [num_seqs] or null
  int32_t num_seqs;
  int32_t num_rows;
  int32_t num_kv_heads;
  int32_t head_dim;
  bool in_vectors;  // all rows are aligned for chunks of 8
};

// One launch. Rows times heads are below 2^31.
cudaError_t launch_gather_kv_cache(const GatherParams& params, cudaStream_t stream);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_CACHE_GATHER_KV_CACHE_H_
