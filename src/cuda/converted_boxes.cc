#include "cuda/converted_boxes.h"

#include "cuda/kernels/prefill/launch.h"
#include "plan/kv_conversion.h"

namespace pagoda::cuda {
namespace {

constexpr int32_t kLog2BoxKeys = 6;
constexpr int32_t kPanelColumns = 64;

Status make_map(const AttentionParams& params, int64_t num_keys, const uint16_t* rows,
                TensorMap* map) {
  TensorMapSpec spec{.data = rows, .dtype = converted_dtype(params.q.dtype), .rank = 3};
  const int64_t extent[] = {params.head_dim, num_keys, params.num_kv_heads};
  const int64_t stride[] = {1, params.head_dim, num_keys * params.head_dim};
  const int32_t box[] = {kPanelColumns, 1 << kLog2BoxKeys, 1};
  for (int i = 0; i < spec.rank; ++i) {
    spec.extent[i] = extent[i];
    spec.stride[i] = stride[i];
    spec.box[i] = box[i];
  }
  return make_tensor_map(spec, map);
}

}  // namespace

Status make_converted_boxes(const AttentionParams& params, const ConvertedKv& converted,
                            KvBoxes* boxes) {
  const int64_t num_keys = int64_t{converted.capacity} * kConvertedTile;
  boxes->log2_keys = kLog2BoxKeys;
  boxes->panel_by_panel = true;
  if (Status status = make_map(params, num_keys, converted.k, &boxes->k); !status.ok()) {
    return status;
  }
  return make_map(params, num_keys, converted.v, &boxes->v);
}

}  // namespace pagoda::cuda
