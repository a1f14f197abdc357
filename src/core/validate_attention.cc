#include <cmath>

#include "core/checks.h"
#include "core/geometry_checks.h"
#include "core/validate.h"

namespace pagoda {
namespace {

constexpr int32_t kSplitMultiple = 64;

// NaN, infinite and negative factors are mistakes; 0 has a meaning of its own.
Status check_factor(const char* name, float value, const char* zero_means) {
  if (value >= 0.0f && std::isfinite(value)) return {};
  return invalid_argument(name, ": got ", value, ", wants a finite number > 0, or 0 for ",
                          zero_means);
}

Status check_window(const char* name, int32_t window) {
  if (window >= -1) return {};
  return invalid_argument(name, ": got ", window, ", wants ", name, " >= 0, or -1 for unlimited");
}

Status check_split(SplitPolicy policy, int32_t fixed_split_keys) {
  if (policy != SplitPolicy::kBalanced && policy != SplitPolicy::kFixed) {
    return invalid_argument("split_policy: got ", static_cast<int32_t>(policy),
                            ", wants 0 (balanced) or 1 (fixed)");
  }
  if (fixed_split_keys >= 0 && fixed_split_keys % kSplitMultiple == 0) return {};
  return invalid_argument("fixed_split_keys: got ", fixed_split_keys, ", wants a multiple of ",
                          kSplitMultiple, ", or 0 for ", kDefaultFixedSplitKeys);
}

Status lay_out_score(const AttentionProblem& problem, AttentionParams* params) {
  PAGODA_RETURN_IF_ERROR(
      check_factor("softmax_scale", problem.softmax_scale, "1 / sqrt(head_dim)"));
  PAGODA_RETURN_IF_ERROR(check_factor("logits_soft_cap", problem.logits_soft_cap, "none"));
  ScoreParams& score = params->score;
  score.softmax_scale = problem.softmax_scale > 0.0f
                            ? problem.softmax_scale
                            : 1.0f / std::sqrt(static_cast<float>(params->head_dim));
  score.logits_soft_cap = problem.logits_soft_cap;
  return {};
}

Status lay_out_alibi(const AttentionProblem& problem, AttentionParams* params) {
  const TensorView& slopes = problem.alibi_slopes;
  if (!slopes.present() && problem.alibi_sqrt) {
    return invalid_argument("alibi_sqrt: got true without alibi_slopes, wants both");
  }
  if (!slopes.present()) return {};
  params->score.alibi_sqrt = problem.alibi_sqrt;
  params->score.alibi_slopes = static_cast<const float*>(slopes.data);
  params->score.alibi_slopes_stride = slopes.stride[0];
  return check_tensor(slopes,
                      {.name = "alibi_slopes",
                       .dtypes = {DType::kFloat32},
                       .shape = {{"num_q_heads", params->num_q_heads}}},
                      place_of(problem));
}

Status lay_out_sinks(const AttentionProblem& problem, AttentionParams* params) {
  const TensorView& sinks = problem.sinks;
  if (!sinks.present()) return {};
  params->score.sinks = sinks.data;
  params->score.sinks_dtype = sinks.dtype;
  params->score.sinks_stride = sinks.stride[0];
  return check_tensor(
      sinks,
      {.name = "sinks", .dtypes = kWideFloats, .shape = {{"num_q_heads", params->num_q_heads}}},
      place_of(problem));
}

Status lay_out_bias(const AttentionProblem& problem, AttentionParams* params) {
  const TensorView& bias = problem.bias;
  if (!bias.present()) return {};
  if (bias.rank != 2 && bias.rank != 3) {
    return invalid_argument("bias: got shape ", shape_text(bias),
                            ", wants float32 [rows, columns] or [num_seqs=", params->num_seqs,
                            ", rows, columns]");
  }
  const Extent seqs{"num_seqs", params->num_seqs};
  const TensorRule all{
      .name = "bias", .dtypes = {DType::kFloat32}, .shape = {{"rows"}, {"columns"}}};
  const TensorRule by_seq{
      .name = "bias", .dtypes = {DType::kFloat32}, .shape = {seqs, {"rows"}, {"columns"}}};
  PAGODA_RETURN_IF_ERROR(check_tensor(bias, bias.rank == 3 ? by_seq : all, place_of(problem)));
  const int first = bias.rank - 2;
  PAGODA_RETURN_IF_ERROR(check_between("bias rows", bias.shape[first], 0, kMaxInt32));
  PAGODA_RETURN_IF_ERROR(check_between("bias columns", bias.shape[first + 1], 0, kMaxInt32));
  ScoreParams& score = params->score;
  score.bias = static_cast<const float*>(bias.data);
  score.bias_seq_stride = bias.rank == 3 ? bias.stride[0] : 0;
  score.bias_row_stride = bias.stride[first];
  score.bias_column_stride = bias.stride[first + 1];
  score.bias_rows = static_cast<int32_t>(bias.shape[first]);
  score.bias_columns = static_cast<int32_t>(bias.shape[first + 1]);
  return {};
}

Status lay_out_windows(const AttentionMask& mask, AttentionParams* params) {
  PAGODA_RETURN_IF_ERROR(check_window("window_left", mask.window_left));
  PAGODA_RETURN_IF_ERROR(check_window("window_right", mask.window_right));
  PAGODA_RETURN_IF_ERROR(check_at_least("chunk_size", mask.chunk_size, 0));
  PAGODA_RETURN_IF_ERROR(check_at_least("chunk_lookback", mask.chunk_lookback, 0));
  if (mask.chunk_lookback > 0 && mask.chunk_size == 0) {
    return invalid_argument("chunk_lookback: got ", mask.chunk_lookback,
                            " with chunk_size=0, wants chunk_size > 0 with it");
  }
  params->mask.causal = mask.causal;
  params->mask.window_left = mask.window_left;
  params->mask.window_right = mask.window_right;
  params->mask.chunk_size = mask.chunk_size;
  params->mask.chunk_lookback = mask.chunk_lookback;
  return {};
}

Status lay_out_causal_per_seq(const AttentionProblem& problem, AttentionParams* params) {
  const TensorView& flags = problem.mask.causal_per_seq;
  if (!flags.present()) return {};
  params->mask.causal_per_seq = static_cast<const uint8_t*>(flags.data);
  params->mask.causal_per_seq_stride = flags.stride[0];
  return check_tensor(flags,
                      {.name = "causal_per_seq",
                       .dtypes = {DType::kUInt8},
                       .shape = {{"num_seqs", params->num_seqs}}},
                      place_of(problem));
}

Status lay_out_prefix(const AttentionProblem& problem, AttentionParams* params) {
  const TensorView& lens = problem.mask.prefix_lens;
  const int32_t window = problem.mask.prefix_window_left;
  PAGODA_RETURN_IF_ERROR(check_window("prefix_window_left", window));
  if (lens.present() != (window >= 0)) {
    return invalid_argument("prefix_window_left: got ", window,
                            lens.present() ? " with" : " without", " prefix_lens, wants ",
                            lens.present() ? ">= 0 with it" : "both or neither (-1)");
  }
  params->mask.prefix_window_left = window;
  if (!lens.present()) return {};
  params->mask.prefix_lens = static_cast<const int32_t*>(lens.data);
  params->mask.prefix_lens_stride = lens.stride[0];
  return check_tensor(
      lens,
      {.name = "prefix_lens", .dtypes = {DType::kInt32}, .shape = {{"num_seqs", params->num_seqs}}},
      place_of(problem));
}

Status lay_out_tree(const AttentionProblem& problem, AttentionParams* params) {
  const TensorView& words = problem.mask.tree_words;
  if (!words.present()) return {};
  params->mask.tree_words = static_cast<const int64_t*>(words.data);
  params->mask.tree_words_stride = words.stride[0];
  return check_tensor(words,
                      {.name = "tree_words",
                       .dtypes = {DType::kInt64},
                       .shape = {{"num_tokens", params->num_tokens}}},
                      place_of(problem));
}

Status lay_out_ranges(const AttentionProblem& problem, AttentionParams* params) {
  const TensorView& ranges = problem.mask.bidirectional_ranges;
  const bool clamp = problem.mask.clamp_ranges_to_window_left;
  const bool given = ranges.present() || (ranges.rank > 0 && !has_elements(ranges));
  if (clamp && (!given || problem.mask.window_left < 0)) {
    return invalid_argument(
        "clamp_ranges_to_window_left: got true with window_left=", problem.mask.window_left,
        given ? "" : " without ranges", ", wants bidirectional_ranges and window_left >= 0");
  }
  if (!ranges.present()) return {};
  PAGODA_RETURN_IF_ERROR(check_tensor(
      ranges,
      {.name = "bidirectional_ranges",
       .dtypes = {DType::kInt32},
       .shape = {{"num_seqs", params->num_seqs}, {"max_ranges"}, {"first and last", 2}},
       .strides = StrideRule::kContiguous},
      place_of(problem)));
  PAGODA_RETURN_IF_ERROR(check_between("max_ranges", ranges.shape[1], 0, kMaxInt32));
  params->mask.bidirectional_ranges = static_cast<const int32_t*>(ranges.data);
  params->mask.max_ranges = static_cast<int32_t>(ranges.shape[1]);
  params->mask.clamp_ranges_to_window_left = clamp;
  return {};
}

Status lay_out_split(const AttentionProblem& problem, AttentionParams* params) {
  params->split_policy = problem.split_policy;
  params->fixed_split_keys =
      problem.fixed_split_keys > 0 ? problem.fixed_split_keys : kDefaultFixedSplitKeys;
  return check_split(problem.split_policy, problem.fixed_split_keys);
}

}  // namespace

Status make_attention_params(const AttentionProblem& problem, ProblemUse use,
                             AttentionParams* params) {
  *params = {};
  PAGODA_RETURN_IF_ERROR(lay_out_geometry(problem, use, params));
  return join_failures({lay_out_out(problem, use, params), lay_out_lse(problem, params),
                        check_outputs_apart(problem, use), lay_out_scales(problem, use, params),
                        lay_out_score(problem, params), lay_out_alibi(problem, params),
                        lay_out_sinks(problem, params), lay_out_bias(problem, params),
                        lay_out_windows(problem.mask, params),
                        lay_out_causal_per_seq(problem, params), lay_out_prefix(problem, params),
                        lay_out_tree(problem, params), lay_out_ranges(problem, params),
                        lay_out_split(problem, params)});
}

Status validate_execution(const Execution& execution) {
  const ParallelFor* pool = execution.parallel_for;
  if (pool == nullptr) return {};
  if (pool->run == nullptr) {
    return invalid_argument(
        "parallel_for: got a null run, wants a function; leave parallel_for "
        "null to use the library's own pool");
  }
  return check_at_least("parallel_for num_workers", pool->num_workers, 1);
}

Status validate_limits(const AttentionLimits& limits) {
  PAGODA_RETURN_IF_ERROR(check_heads(limits.num_q_heads, limits.num_kv_heads, limits.head_dim));
  return join_failures({check_device("device", limits.device),
                        check_num_tokens("max_num_tokens", limits.max_num_tokens,
                                         limits.num_q_heads / limits.num_kv_heads),
                        check_at_least("max_num_seqs", limits.max_num_seqs, 0),
                        check_at_least("max_seqlen_k", limits.max_seqlen_k, 0),
                        check_split(limits.split_policy, limits.fixed_split_keys),
                        check_at_least("num_workers", limits.num_workers, 0),
                        check_dtype("kv_dtype", limits.kv_dtype, kPages)});
}

}  // namespace pagoda
