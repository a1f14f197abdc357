#include "cuda/query_boxes.h"

#include "core/dtype.h"

namespace pagoda::cuda {

QueryBoxes make_query_boxes(const AttentionParams& params, int32_t tile_rows) {
  QueryBoxes boxes{};
  if (tile_rows % params.group != 0) return boxes;
  constexpr int32_t kPanelBytes = 128;
  const int32_t panel_cols = kPanelBytes / static_cast<int32_t>(size_of(params.q.dtype));
  const TensorMapSpec spec{
      .data = params.q.data,
      .dtype = params.q.dtype,
      .rank = 3,
      .extent = {params.head_dim, int64_t{params.num_kv_heads} * params.group, params.num_tokens},
      .stride = {1, params.q.head_stride, params.q.token_stride},
      .box = {panel_cols, params.group, tile_rows / params.group}};
  // Strides that the copy engine does not take are left to ordinary copies.
  boxes.usable = make_tensor_map(spec, &boxes.map).ok();
  return boxes;
}

}  // namespace pagoda::cuda
