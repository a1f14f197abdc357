#include "cuda/kv_boxes.h"

#include <bit>

#include "core/arith.h"
#include "core/dtype.h"

namespace pagoda::cuda {
namespace {

constexpr int32_t kMaxBoxKeys = 64;
constexpr int32_t kPanelBytes = 128;

int32_t panel_columns(DType dtype) {
  return kPanelBytes / static_cast<int32_t>(size_of(dtype));
}

TensorMapSpec page_map(const AttentionParams& params, const PagesParams& pages,
                       int32_t kernel_head_dim, const KvBoxes& boxes) {
  const PagedKvParams& kv = params.kv;
  const bool by_panel = boxes.panel_by_panel != 0;
  const int32_t panel_cols = panel_columns(kv.dtype);
  // Without pages no key is ever visible, but a map needs something to point to.
  const bool no_pages = kv.num_pages == 0;
  return {
      .data = no_pages ? params.q.data : pages.data,
      .dtype = kv.dtype,
      .rank = 5,
      .extent = {by_panel ? params.head_dim : panel_cols, kv.page_size,
                 by_panel ? 1 : params.head_dim / panel_cols, params.num_kv_heads,
                 max_of(kv.num_pages, 1)},
      .stride = {1, pages.token_stride, panel_cols, pages.head_stride, pages.page_stride},
      .box = {panel_cols, 1 << boxes.log2_keys, by_panel ? 1 : kernel_head_dim / panel_cols, 1, 1}};
}

}  // namespace

Status make_kv_boxes(const AttentionParams& params, int32_t kernel_head_dim, bool panel_by_panel,
                     KvBoxes* boxes) {
  const auto page_size = static_cast<uint32_t>(params.kv.page_size);
  boxes->log2_keys = min_of(std::countr_zero(page_size), std::countr_zero(unsigned{kMaxBoxKeys}));
  boxes->panel_by_panel = panel_by_panel || params.head_dim % panel_columns(params.kv.dtype) != 0;
  Status status =
      make_tensor_map(page_map(params, params.kv.k, kernel_head_dim, *boxes), &boxes->k);
  if (!status.ok()) return status;
  return make_tensor_map(page_map(params, params.kv.v, kernel_head_dim, *boxes), &boxes->v);
}

}  // namespace pagoda::cuda
