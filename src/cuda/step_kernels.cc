#include "cuda/step_kernels.h"

#include <string>

#include "core/paged_kv.h"
#include "semantics/mask.h"
#include "semantics/score.h"

namespace pagoda::cuda {
namespace {

bool is_plain(const AttentionParams& params) {
  return is_plain_score(params.score) && is_interval(params.mask);
}

}  // namespace

const AttentionKernel* find_kernel(const AttentionParams& params) {
  // The plain one takes the largest dot for the largest logit, and has token scales for int8 only.
  const bool has_scales = has_token_scales(params.kv) && params.kv.dtype != DType::kInt8;
  const bool plain = is_plain(params) && params.score.softmax_scale >= 0.0f && !has_scales;
  return find_attention_kernel(params.kv.dtype, params.head_dim, plain);
}

const PrefillKernel* find_prefill(const AttentionParams& params) {
  const ScoreParams& score = params.score;
  if (Alibi::active(score) || Bias::active(score) || !(score.softmax_scale > 0.0f) ||
      !is_interval(params.mask) || params.split_policy == SplitPolicy::kFixed) {
    return nullptr;
  }
  const PrefillKernel* kernel = find_prefill_kernel({.q_dtype = params.q.dtype,
                                                     .kv_dtype = params.kv.dtype,
                                                     .token_scales = has_token_scales(params.kv),
                                                     .head_dim = params.head_dim,
                                                     .soft_cap = SoftCap::active(score)});
  // Both kernels' partial results have the same columns.
  return kernel != nullptr && kernel->head_dim == find_kernel(params)->head_dim ? kernel : nullptr;
}

Status check_supported(const AttentionParams& params) {
  std::string reasons;
  auto require = [&](bool there, const char* reason) {
    if (!there) reasons += std::string(reasons.empty() ? "" : "; ") + reason;
  };
  const bool is_f32 = params.q.dtype == DType::kFloat32;
  require(!is_f32, "q: got float32, the CUDA backend takes bf16, f16 and e4m3");
  require(is_f32 || find_kernel(params) != nullptr, kNoKernel);
  if (reasons.empty()) return {};
  return {StatusCode::kUnsupported, reasons};
}

}  // namespace pagoda::cuda
