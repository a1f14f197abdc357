#include "core/kv_checks.h"

#include <cmath>
#include <string>

namespace pagoda {
namespace {

// Stands for the table of sequences without pages: never read, but no null pointer.
constexpr int32_t kNoPages = 0;

bool is_one_element(const TensorView& view) {
  bool one = view.rank >= 0 && view.rank <= 2;
  for (int i = 0; one && i < view.rank; ++i) one = view.shape[i] == 1;
  return one;
}

// The matrix [num_seqs, num_kv_heads] that a checked scale stands for, with its own extents.
TensorView as_matrix(const TensorView& scale) {
  TensorView matrix = scale;
  matrix.rank = 2;
  for (int i = 0; i < 2; ++i) {
    const int source = scale.rank - 2 + i;
    matrix.shape[i] = source < 0 ? 1 : scale.shape[source];
    matrix.stride[i] = source < 0 ? 0 : scale.stride[source];
  }
  return matrix;
}

bool scale_shape_fits(const TensorView& scale, const ScaleRule& rule) {
  if (is_one_element(scale)) return true;
  if (scale.rank == 1) return scale.shape[0] == rule.num_kv_heads;
  return rule.num_seqs != Extent::kAny && scale.rank == 2 && scale.shape[0] == rule.num_seqs &&
         scale.shape[1] == rule.num_kv_heads;
}

std::string scale_shapes(const ScaleRule& rule) {
  const std::string heads = "num_kv_heads=" + std::to_string(rule.num_kv_heads) + "]";
  if (rule.num_seqs == Extent::kAny && rule.num_kv_heads == 1) return "float32 of one element";
  if (rule.num_seqs == Extent::kAny) return "float32 of one element or [" + heads;
  return "float32 of one element, [" + heads + " or [num_seqs=" + std::to_string(rule.num_seqs) +
         ", " + heads;
}

Status check_scale_values(const TensorView& scale, const ScaleRule& rule) {
  const TensorView matrix = as_matrix(scale);
  const auto* data = static_cast<const float*>(scale.data);
  const bool is_positive = rule.range == ScaleRange::kPositive;
  for (int64_t seq = 0; seq < matrix.shape[0]; ++seq) {
    for (int64_t head = 0; head < matrix.shape[1]; ++head) {
      const float value = data[seq * matrix.stride[0] + head * matrix.stride[1]];
      if (std::isfinite(value) && (is_positive ? value > 0.0f : value >= 0.0f)) continue;
      return invalid_argument(rule.name, ": got ", value, " at [", seq, ", ", head,
                              "], wants a finite number ", is_positive ? "> 0" : ">= 0");
    }
  }
  return {};
}

Status check_token_scale(const char* name, const TensorView& scale, const KvScalesRule& rule,
                         const Place& place) {
  if (!scale.present()) return {};
  return check_tensor(scale,
                      {.name = name,
                       .dtypes = {DType::kFloat32},
                       .shape = {{"num_pages", rule.pages.shape[0]},
                                 {"page_size", rule.pages.shape[1]},
                                 {"num_kv_heads", rule.pages.shape[2]}},
                       .is_written = rule.are_written},
                      place);
}

// Which scales may and must be there.
Status check_scale_combination(const KvScales& scales, const KvScalesRule& rule) {
  const DType dtype = rule.pages.dtype;
  struct Named {
    const char* name;
    const TensorView& scale;
  };
  const Named all[] = {{"k_scale", scales.k_scale},
                       {"v_scale", scales.v_scale},
                       {"k_token_scale", scales.k_token_scale},
                       {"v_token_scale", scales.v_token_scale}};
  for (const Named& named : all) {
    if (!named.scale.present() || kQuantised.contains(dtype)) continue;
    return invalid_argument(named.name, ": got one with ", dtype_name(dtype),
                            " pages, wants it with fp8 or int8 pages only; leave it out");
  }
  const bool by_token = scales.k_token_scale.present() || scales.v_token_scale.present();
  for (const Named& named : {all[0], all[1]}) {
    if (!named.scale.present() || !by_token) continue;
    return invalid_argument(named.name,
                            ": got one beside k_token_scale or v_token_scale, wants "
                            "one kind of scale; leave it out");
  }
  const bool need_token_scales = by_token || (dtype == DType::kInt8 && rule.are_needed);
  for (const Named& named : {all[2], all[3]}) {
    if (named.scale.present() || !need_token_scales || !has_elements(rule.pages)) continue;
    return invalid_argument(
        named.name, ": got none, wants float32 [num_pages=", rule.pages.shape[0],
        ", page_size=", rule.pages.shape[1], ", num_kv_heads=", rule.pages.shape[2], "] ",
        by_token ? "beside the other token scale" : "with int8 pages");
  }
  return {};
}

Status lay_out_csr_table(const PagedKvCache& kv, int64_t num_seqs, const Place& place,
                         BlockTableParams* params) {
  PAGODA_RETURN_IF_ERROR(check_tensor(kv.page_indptr,
                                      {.name = "page_indptr",
                                       .dtypes = {DType::kInt32},
                                       .shape = {{"num_seqs + 1", num_seqs + 1}},
                                       .strides = StrideRule::kContiguous},
                                      place));
  PAGODA_RETURN_IF_ERROR(check_tensor(kv.page_indices,
                                      {.name = "page_indices",
                                       .dtypes = {DType::kInt32},
                                       .shape = {{"num_page_entries"}},
                                       .strides = StrideRule::kContiguous},
                                      place));
  const int64_t entries = kv.page_indices.shape[0];
  PAGODA_RETURN_IF_ERROR(check_between("num_page_entries", entries, 0, kMaxInt32));
  *params = {.table = nullptr,
             .row_stride = 0,
             .indptr = static_cast<const int32_t*>(kv.page_indptr.data),
             .indices = static_cast<const int32_t*>(kv.page_indices.data),
             .max_pages = static_cast<int32_t>(entries)};
  return {};
}

TokenScaleParams lay_out_token_scale(const TensorView& scale) {
  return {static_cast<float*>(scale.data), scale.stride[0], scale.stride[1], scale.stride[2]};
}

PagesParams lay_out_pages(const TensorView& pages) {
  return {pages.data, pages.stride[0], pages.stride[1], pages.stride[2]};
}

}  // namespace

Status check_pages(const TensorView& k_pages, const TensorView& v_pages, const PagesRule& rule,
                   const Place& place) {
  TensorRule k_rule{.name = "k_pages",
                    .dtypes = rule.dtypes,
                    .shape = {{"num_pages"},
                              {"page_size"},
                              {"num_kv_heads", rule.num_kv_heads},
                              {"head_dim", rule.head_dim}},
                    .strides = StrideRule::kAlignedRows,
                    .is_written = rule.is_written,
                    .data_may_be_null = rule.data_may_be_null};
  PAGODA_RETURN_IF_ERROR(check_tensor(k_pages, k_rule, place));
  PAGODA_RETURN_IF_ERROR(check_between("num_pages", k_pages.shape[0], 0, kMaxInt32));
  PAGODA_RETURN_IF_ERROR(check_between("page_size", k_pages.shape[1], 1, kMaxInt32));
  PAGODA_RETURN_IF_ERROR(check_between("num_kv_heads", k_pages.shape[2], 1, kMaxHeads));
  PAGODA_RETURN_IF_ERROR(check_between("head_dim", k_pages.shape[3], 1, kMaxInt32));
  return check_tensor(v_pages,
                      {.name = "v_pages",
                       .dtypes = {k_pages.dtype},
                       .shape = {{"num_pages", k_pages.shape[0]},
                                 {"page_size", k_pages.shape[1]},
                                 {"num_kv_heads", k_pages.shape[2]},
                                 {"head_dim", k_pages.shape[3]}},
                       .strides = StrideRule::kAlignedRows,
                       .is_written = rule.is_written,
                       .data_may_be_null = rule.data_may_be_null},
                      place);
}

Status check_lse_layout(LseLayout layout) {
  if (layout == LseLayout::kHeadsTokens || layout == LseLayout::kTokensHeads) return {};
  return invalid_argument("lse_layout: got ", static_cast<int32_t>(layout),
                          ", wants 0 (heads, tokens) or 1 (tokens, heads)");
}

Status check_lse(const TensorView& lse, const LseRule& rule, const Place& place) {
  const bool heads_first = rule.layout == LseLayout::kHeadsTokens;
  const Extent tokens{"num_tokens", rule.num_tokens};
  const Extent heads{"num_q_heads", rule.num_q_heads};
  return check_tensor(lse,
                      {.name = rule.name,
                       .dtypes = {DType::kFloat32},
                       .shape = {heads_first ? heads : tokens, heads_first ? tokens : heads},
                       .is_written = rule.is_written},
                      place);
}

Status check_scale(const TensorView& scale, const ScaleRule& rule, const Place& place) {
  if (!scale.present()) return {};
  if (!scale_shape_fits(scale, rule)) {
    return invalid_argument(rule.name, ": got shape ", shape_text(scale), ", wants ",
                            scale_shapes(rule));
  }
  PAGODA_RETURN_IF_ERROR(check_tensor(
      as_matrix(scale),
      {.name = rule.name, .dtypes = {DType::kFloat32}, .shape = {{"num_seqs"}, {"num_kv_heads"}}},
      place));
  const bool readable = rule.read_values && place.device.type == DeviceType::kCpu;
  return readable ? check_scale_values(scale, rule) : Status{};
}

ScaleParams lay_out_scale(const TensorView& scale) {
  if (!scale.present()) return {};
  const TensorView matrix = as_matrix(scale);
  const auto step = [&](int i) { return matrix.shape[i] == 1 ? 0 : matrix.stride[i]; };
  return {static_cast<const float*>(scale.data), step(0), step(1)};
}

Status check_kv_scales(const KvScales& scales, const KvScalesRule& rule, const Place& place) {
  PAGODA_RETURN_IF_ERROR(check_scale_combination(scales, rule));
  ScaleRule by_head{.name = "k_scale",
                    .num_seqs = rule.num_seqs,
                    .num_kv_heads = rule.pages.shape[2],
                    .range = rule.range,
                    .read_values = rule.read_values};
  PAGODA_RETURN_IF_ERROR(check_scale(scales.k_scale, by_head, place));
  by_head.name = "v_scale";
  PAGODA_RETURN_IF_ERROR(check_scale(scales.v_scale, by_head, place));
  PAGODA_RETURN_IF_ERROR(check_token_scale("k_token_scale", scales.k_token_scale, rule, place));
  return check_token_scale("v_token_scale", scales.v_token_scale, rule, place);
}

Status lay_out_block_table(const PagedKvCache& kv, int64_t num_seqs, const Place& place,
                           BlockTableParams* params) {
  const bool is_csr = kv.page_indptr.present() || kv.page_indices.present();
  if (is_csr && kv.block_table.present()) {
    return invalid_argument(
        "block_table: got one beside page_indptr or page_indices, wants only one kind of table");
  }
  if (is_csr) return lay_out_csr_table(kv, num_seqs, place, params);
  *params = {
      .table = &kNoPages, .row_stride = 0, .indptr = nullptr, .indices = nullptr, .max_pages = 0};
  const TensorView& table = kv.block_table;
  const bool has_no_pages = num_seqs == 0 || (table.rank == 2 && !has_elements(table));
  if (!table.present() && has_no_pages) return {};
  if (!table.present()) {
    return invalid_argument("block_table: got neither it nor page_indptr and page_indices, wants ",
                            "int32 [num_seqs=", num_seqs, ", max_pages] or the other two");
  }
  PAGODA_RETURN_IF_ERROR(check_tensor(table,
                                      {.name = "block_table",
                                       .dtypes = {DType::kInt32},
                                       .shape = {{"num_seqs", num_seqs}, {"max_pages"}},
                                       .strides = StrideRule::kDenseRows},
                                      place));
  PAGODA_RETURN_IF_ERROR(check_between("max_pages", table.shape[1], 0, kMaxInt32));
  params->table = static_cast<const int32_t*>(table.data);
  params->row_stride = table.stride[0];
  params->max_pages = static_cast<int32_t>(table.shape[1]);
  return {};
}

PagedKvParams lay_out_paged_kv(const PagedKvCache& kv, const BlockTableParams& block_table) {
  return {.k = lay_out_pages(kv.k_pages),
          .v = lay_out_pages(kv.v_pages),
          .dtype = kv.k_pages.dtype,
          .num_pages = static_cast<int32_t>(kv.k_pages.shape[0]),
          .page_size = static_cast<int32_t>(kv.k_pages.shape[1]),
          .block_table = block_table,
          .k_scale = lay_out_scale(kv.k_scale),
          .v_scale = lay_out_scale(kv.v_scale),
          .k_token_scale = lay_out_token_scale(kv.k_token_scale),
          .v_token_scale = lay_out_token_scale(kv.v_token_scale)};
}

}  // namespace pagoda
