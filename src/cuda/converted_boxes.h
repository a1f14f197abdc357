// How the copy engine reads converted K and V.
#ifndef PAGODA_CUDA_CONVERTED_BOXES_H_
#define PAGODA_CUDA_CONVERTED_BOXES_H_

#include "core/attention_params.h"
#include "cuda/kernels/work.h"
#include "cuda/kv_boxes.h"

namespace pagoda::cuda {

constexpr int32_t kConvertedBoxKeys = 64;

// Maps of dimensions: column, key, head. A box has a panel of 128 bytes of kConvertedBoxKeys keys.
// Only the maps are set.
Status make_converted_boxes(const AttentionParams& params, const ConvertedKv& converted,
                            KvBoxes* boxes);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_CONVERTED_BOXES_H_
