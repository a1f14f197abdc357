// 8-bit K and V with 16 bits, for a prefill kernel that reads them many times.
#ifndef PAGODA_CUDA_KERNELS_CONVERT_KV_H_
#define PAGODA_CUDA_KERNELS_CONVERT_KV_H_

#include <cuda_runtime_api.h>

#include "cuda/kernels/work.h"

namespace pagoda::cuda {

// Fills converted.k and v, for the sequences that the plan has found room for. Keys past a
// sequence's end, up to a whole tile, become zeros.
cudaError_t launch_convert_kv(const AttentionParams& params, const ConvertedKv& converted,
                              cudaStream_t stream);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_CONVERT_KV_H_
