#include "cuda/converted_boxes.h"

#include "core/paged_kv.h"
#include "cuda/kernels/prefill/launch.h"
#include "plan/kv_conversion.h"

namespace pagoda::cuda {
namespace {

constexpr int32_t kPanelColumns = 64;

Status make_map(const AttentionParams& params, int64_t num_keys, const uint16_t* rows,
                TensorMap* map) {
  return make_tensor_map({.data = rows,
                          .dtype = converted_dtype(params.q.dtype, has_token_scales(params.kv)),
                          .rank = 3,
                          .extent = {params.head_dim, num_keys, params.num_kv_heads},
                          .stride = {1, params.head_dim, num_keys * params.head_dim},
                          .box = {kPanelColumns, kConvertedBoxKeys, 1}},
                         map);
}

}  // namespace

Status make_converted_boxes(const AttentionParams& params, const ConvertedKv& converted,
                            KvBoxes* boxes) {
  const int64_t num_keys = int64_t{converted.capacity} * kConvertedTile;
  if (Status status = make_map(params, num_keys, converted.k, &boxes->k); !status.ok()) {
    return status;
  }
  return make_map(params, num_keys, converted.v, &boxes->v);
}

}  // namespace pagoda::cuda
