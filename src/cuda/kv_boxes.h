// How the copy engine reads the paged cache: the largest boxes that never cross a page, whatever
// the page size.
#ifndef PAGODA_CUDA_KV_BOXES_H_
#define PAGODA_CUDA_KV_BOXES_H_

#include "core/attention_params.h"
#include "cuda/tensor_map.h"

namespace pagoda::cuda {

struct KvBoxes {
  TensorMap k;  // dimensions: column in its panel, token, panel of 128 bytes, head, page
  TensorMap v;
  // A box has 2^log2_keys keys, the largest power of two up to 64 that divides the page size, so
  // a tile of 64 or 128 keys is a whole number of boxes.
  int32_t log2_keys;
  // Where a row does not fill its last panel, the missing columns must arrive as zeros: then
  // columns are one dimension of the map, and every panel is a box of its own.
  int32_t panel_by_panel;
};

// `kernel_head_dim`: columns that the kernel has, at least head_dim. `panel_by_panel`: whatever
// head_dim is.
Status make_kv_boxes(const AttentionParams& params, int32_t kernel_head_dim, bool panel_by_panel,
                     KvBoxes* boxes);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KV_BOXES_H_
