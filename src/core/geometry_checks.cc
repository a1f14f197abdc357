#include "core/geometry_checks.h"

#include <algorithm>

#include "core/attention_params.h"
#include "core/checks.h"
#include "core/kv_checks.h"

namespace pagoda {
namespace {

constexpr int32_t kHeadDimMultiple = 8;

Status check_q(const TensorView& q, ProblemUse use) {
  PAGODA_RETURN_IF_ERROR(check_tensor(q,
                                      {.name = "q",
                                       .dtypes = kWideFloats | DTypeSet{DType::kFloat8E4M3},
                                       .shape = {{"num_tokens"}, {"num_q_heads"}, {"head_dim"}},
                                       .strides = StrideRule::kAlignedRows,
                                       .data_may_be_null = use == ProblemUse::kPlan},
                                      {q.device, "q"}));
  if (q.dtype != DType::kFloat32 || q.device.type == DeviceType::kCpu) return {};
  return {StatusCode::kUnsupported, text("q: got dtype float32 on ", device_name(q.device),
                                         ", wants float16, bfloat16 or float8_e4m3 there")};
}

DTypeSet kv_dtypes(DType q_dtype) {
  return kQuantised | DTypeSet{q_dtype};
}

Status lay_out_lengths(const AttentionProblem& problem, AttentionParams* params) {
  const Place place = place_of(problem);
  PAGODA_RETURN_IF_ERROR(check_tensor(problem.seqused_k,
                                      {.name = "seqused_k",
                                       .dtypes = {DType::kInt32},
                                       .shape = {{"num_seqs"}},
                                       .strides = StrideRule::kContiguous},
                                      place));
  const int64_t num_seqs = problem.seqused_k.shape[0];
  PAGODA_RETURN_IF_ERROR(check_between("num_seqs", num_seqs, 0, kMaxInt32 - 1));
  PAGODA_RETURN_IF_ERROR(check_tensor(problem.cu_seqlens_q,
                                      {.name = "cu_seqlens_q",
                                       .dtypes = {DType::kInt32},
                                       .shape = {{"num_seqs + 1", num_seqs + 1}},
                                       .strides = StrideRule::kContiguous,
                                       .data_may_be_null = num_seqs == 0},
                                      place));
  params->num_seqs = static_cast<int32_t>(num_seqs);
  params->seqused_k = static_cast<const int32_t*>(problem.seqused_k.data);
  params->cu_seqlens_q = static_cast<const int32_t*>(problem.cu_seqlens_q.data);
  return {};
}

Status lay_out_max_lengths(const AttentionProblem& problem, AttentionParams* params) {
  PAGODA_RETURN_IF_ERROR(check_at_least("max_seqlen_q", problem.max_seqlen_q, 0));
  PAGODA_RETURN_IF_ERROR(check_at_least("max_seqlen_k", problem.max_seqlen_k, 0));
  const int64_t capacity =
      std::min(kMaxInt32, int64_t{params->kv.block_table.max_pages} * params->kv.page_size);
  params->max_seqlen_q = problem.max_seqlen_q > 0 ? problem.max_seqlen_q : params->num_tokens;
  params->max_seqlen_k =
      problem.max_seqlen_k > 0 ? problem.max_seqlen_k : static_cast<int32_t>(capacity);
  return {};
}

// The scales of q and out come with e4m3 only.
Status check_belongs(const char* name, const TensorView& scale, const char* tensor, DType dtype) {
  if (!scale.present() || dtype == DType::kFloat8E4M3) return {};
  return invalid_argument(name, ": got one with ", tensor, " of dtype ", dtype_name(dtype),
                          ", wants it with float8_e4m3 only; leave it out");
}

}  // namespace

Place place_of(const AttentionProblem& problem) {
  return {problem.q.device, "q"};
}

Status check_heads(int64_t num_q_heads, int64_t num_kv_heads, int64_t head_dim) {
  PAGODA_RETURN_IF_ERROR(check_between("num_q_heads", num_q_heads, 1, kMaxHeads));
  PAGODA_RETURN_IF_ERROR(check_between("num_kv_heads", num_kv_heads, 1, kMaxHeads));
  if (num_q_heads % num_kv_heads != 0) {
    return invalid_argument("num_q_heads: got ", num_q_heads,
                            ", wants a multiple of num_kv_heads=", num_kv_heads);
  }
  return check_head_dim(head_dim);
}

Status check_head_dim(int64_t head_dim) {
  if (head_dim >= 1 && head_dim <= kMaxHeadDim && head_dim % kHeadDimMultiple == 0) return {};
  return invalid_argument("head_dim: got ", head_dim, ", wants a multiple of ", kHeadDimMultiple,
                          ", at most ", kMaxHeadDim);
}

Status check_num_tokens(const char* name, int64_t num_tokens, int64_t group) {
  PAGODA_RETURN_IF_ERROR(check_between(name, num_tokens, 0, kMaxInt32));
  if (num_tokens * group <= kMaxInt32) return {};
  return invalid_argument(name, ": got ", num_tokens, " with num_q_heads / num_kv_heads=", group,
                          ", wants a product <= ", kMaxInt32, "; cut the batch");
}

Status lay_out_geometry(const AttentionProblem& problem, ProblemUse use, AttentionParams* params) {
  const Place place = place_of(problem);
  const TensorView& q = problem.q;
  const TensorView& k_pages = problem.kv.k_pages;
  PAGODA_RETURN_IF_ERROR(check_q(q, use));
  PAGODA_RETURN_IF_ERROR(check_pages(k_pages, problem.kv.v_pages,
                                     {.dtypes = kv_dtypes(q.dtype),
                                      .head_dim = q.shape[2],
                                      .data_may_be_null = use == ProblemUse::kPlan},
                                     place));
  PAGODA_RETURN_IF_ERROR(check_heads(q.shape[1], k_pages.shape[2], q.shape[2]));
  PAGODA_RETURN_IF_ERROR(check_num_tokens("num_tokens", q.shape[0], q.shape[1] / k_pages.shape[2]));
  PAGODA_RETURN_IF_ERROR(lay_out_lengths(problem, params));
  BlockTableParams table;
  PAGODA_RETURN_IF_ERROR(lay_out_block_table(problem.kv, params->num_seqs, place, &table));
  params->q = {q.data, q.dtype, q.stride[0], q.stride[1]};
  params->kv = lay_out_paged_kv(problem.kv, table);
  params->device = q.device;
  params->num_tokens = static_cast<int32_t>(q.shape[0]);
  params->num_q_heads = static_cast<int32_t>(q.shape[1]);
  params->num_kv_heads = static_cast<int32_t>(k_pages.shape[2]);
  params->group = params->num_q_heads / params->num_kv_heads;
  params->head_dim = static_cast<int32_t>(q.shape[2]);
  params->checked = problem.checked;
  return lay_out_max_lengths(problem, params);
}

Status lay_out_out(const AttentionProblem& problem, ProblemUse use, AttentionParams* params) {
  const TensorView& out = problem.out;
  DTypeSet dtypes{DType::kBFloat16, DType::kFloat8E4M3};
  if (kWideFloats.contains(problem.q.dtype)) dtypes = dtypes | DTypeSet{problem.q.dtype};
  PAGODA_RETURN_IF_ERROR(check_tensor(out,
                                      {.name = "out",
                                       .dtypes = dtypes,
                                       .shape = {{"num_tokens", params->num_tokens},
                                                 {"num_q_heads", params->num_q_heads},
                                                 {"head_dim", params->head_dim}},
                                       .strides = StrideRule::kAlignedRows,
                                       .is_written = true,
                                       .data_may_be_null = use == ProblemUse::kPlan},
                                      place_of(problem)));
  params->out = {out.data, out.dtype, out.stride[0], out.stride[1]};
  return {};
}

Status lay_out_lse(const AttentionProblem& problem, AttentionParams* params) {
  const TensorView& lse = problem.lse;
  PAGODA_RETURN_IF_ERROR(check_lse_layout(problem.lse_layout));
  if (!lse.present()) return {};
  const bool heads_first = problem.lse_layout == LseLayout::kHeadsTokens;
  params->lse = static_cast<float*>(lse.data);
  params->lse_token_stride = lse.stride[heads_first ? 1 : 0];
  params->lse_head_stride = lse.stride[heads_first ? 0 : 1];
  return check_lse(lse,
                   {.name = "lse",
                    .layout = problem.lse_layout,
                    .num_tokens = params->num_tokens,
                    .num_q_heads = params->num_q_heads,
                    .is_written = true},
                   place_of(problem));
}

Status check_outputs_apart(const AttentionProblem& problem, ProblemUse use) {
  if (use == ProblemUse::kPlan) return {};
  const NamedTensor q{"q", problem.q};
  const NamedTensor k_pages{"k_pages", problem.kv.k_pages};
  const NamedTensor v_pages{"v_pages", problem.kv.v_pages};
  const NamedTensor out{"out", problem.out};
  PAGODA_RETURN_IF_ERROR(check_apart(out, {q, k_pages, v_pages}));
  return check_apart({"lse", problem.lse}, {out, q, k_pages, v_pages});
}

Status lay_out_scales(const AttentionProblem& problem, ProblemUse use, AttentionParams* params) {
  const Place place = place_of(problem);
  const bool compute = use == ProblemUse::kCompute;
  const PagedKvCache& kv = problem.kv;
  PAGODA_RETURN_IF_ERROR(
      check_kv_scales({kv.k_scale, kv.v_scale, kv.k_token_scale, kv.v_token_scale},
                      {.pages = kv.k_pages,
                       .num_seqs = params->num_seqs,
                       .read_values = compute,
                       .are_needed = compute},
                      place));
  PAGODA_RETURN_IF_ERROR(check_belongs("q_scale", problem.q_scale, "q", problem.q.dtype));
  PAGODA_RETURN_IF_ERROR(check_scale(problem.q_scale,
                                     {.name = "q_scale",
                                      .num_seqs = params->num_seqs,
                                      .num_kv_heads = params->num_kv_heads,
                                      .read_values = compute},
                                     place));
  PAGODA_RETURN_IF_ERROR(check_belongs("out_scale", problem.out_scale, "out", problem.out.dtype));
  params->q_scale = lay_out_scale(problem.q_scale);
  params->out_scale = static_cast<const float*>(problem.out_scale.data);
  return check_scale(problem.out_scale,
                     {.name = "out_scale", .range = ScaleRange::kPositive, .read_values = compute},
                     place);
}

}  // namespace pagoda
