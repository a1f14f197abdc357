#include "api/c_convert.h"

#include <algorithm>

namespace pagoda {
namespace {

template <class Enum>
constexpr bool same(Enum value, int32_t c_value) {
  return static_cast<int32_t>(value) == c_value;
}
static_assert(same(StatusCode::kOk, PAGODA_OK));
static_assert(same(StatusCode::kInvalidArgument, PAGODA_INVALID_ARGUMENT));
static_assert(same(StatusCode::kUnsupported, PAGODA_UNSUPPORTED));
static_assert(same(StatusCode::kWorkspaceTooSmall, PAGODA_WORKSPACE_TOO_SMALL));
static_assert(same(StatusCode::kInvalidContents, PAGODA_INVALID_CONTENTS));
static_assert(same(StatusCode::kDeviceError, PAGODA_DEVICE_ERROR));
static_assert(same(StatusCode::kInternal, PAGODA_INTERNAL));
static_assert(same(DType::kFloat32, PAGODA_FLOAT32) && same(DType::kFloat16, PAGODA_FLOAT16));
static_assert(same(DType::kBFloat16, PAGODA_BFLOAT16));
static_assert(same(DType::kFloat8E4M3, PAGODA_FLOAT8_E4M3));
static_assert(same(DType::kFloat8E5M2, PAGODA_FLOAT8_E5M2));
static_assert(same(DType::kInt8, PAGODA_INT8) && same(DType::kUInt8, PAGODA_UINT8));
static_assert(same(DType::kInt32, PAGODA_INT32) && same(DType::kInt64, PAGODA_INT64));
static_assert(same(DeviceType::kCpu, PAGODA_CPU) && same(DeviceType::kCuda, PAGODA_CUDA));
static_assert(same(KvLayout::kHnd, PAGODA_HND) && same(KvLayout::kNhd, PAGODA_NHD));
static_assert(same(LseLayout::kHeadsTokens, PAGODA_LSE_HEADS_TOKENS));
static_assert(same(LseLayout::kTokensHeads, PAGODA_LSE_TOKENS_HEADS));
static_assert(same(SplitPolicy::kBalanced, PAGODA_SPLIT_BALANCED));
static_assert(same(SplitPolicy::kFixed, PAGODA_SPLIT_FIXED));
static_assert(kMaxRank == PAGODA_MAX_RANK);

TensorView view_of(const PagodaTensor& tensor) {
  TensorView view{.data = tensor.data,
                  .dtype = static_cast<DType>(tensor.dtype),
                  .device = {static_cast<DeviceType>(tensor.device.type), tensor.device.index},
                  .rank = tensor.rank};
  std::copy(tensor.shape, tensor.shape + kMaxRank, view.shape);
  std::copy(tensor.stride, tensor.stride + kMaxRank, view.stride);
  return view;
}

PagodaTensor to_c(const TensorView& view) {
  PagodaTensor tensor{.data = view.data,
                      .dtype = static_cast<PagodaDType>(view.dtype),
                      .device = {static_cast<int32_t>(view.device.type), view.device.index},
                      .rank = view.rank,
                      .shape = {},
                      .stride = {}};
  std::copy(view.shape, view.shape + kMaxRank, tensor.shape);
  std::copy(view.stride, view.stride + kMaxRank, tensor.stride);
  return tensor;
}

// Of any struct with the fields of a paged KV cache.
template <class Args>
PagedKvCache paged_kv_of(const Args& args) {
  return {.k_pages = view_of(args.k_pages),
          .v_pages = view_of(args.v_pages),
          .block_table = view_of(args.block_table),
          .page_indptr = view_of(args.page_indptr),
          .page_indices = view_of(args.page_indices),
          .k_scale = view_of(args.k_scale),
          .v_scale = view_of(args.v_scale),
          .k_token_scale = view_of(args.k_token_scale),
          .v_token_scale = view_of(args.v_token_scale)};
}

AttentionMask mask_of(const PagodaProblem& problem) {
  return {.causal = problem.causal != 0,
          .causal_per_seq = view_of(problem.causal_per_seq),
          .window_left = problem.window_left,
          .window_right = problem.window_right,
          .chunk_size = problem.chunk_size,
          .chunk_lookback = problem.chunk_lookback,
          .prefix_lens = view_of(problem.prefix_lens),
          .prefix_window_left = problem.prefix_window_left,
          .tree_words = view_of(problem.tree_words),
          .bidirectional_ranges = view_of(problem.bidirectional_ranges),
          .clamp_ranges_to_window_left = problem.clamp_ranges_to_window_left != 0};
}

}  // namespace

AttentionProblem to_cpp(const PagodaProblem& problem) {
  return {.q = view_of(problem.q),
          .out = view_of(problem.out),
          .lse = view_of(problem.lse),
          .lse_layout = static_cast<LseLayout>(problem.lse_layout),
          .kv = paged_kv_of(problem),
          .cu_seqlens_q = view_of(problem.cu_seqlens_q),
          .seqused_k = view_of(problem.seqused_k),
          .max_seqlen_q = problem.max_seqlen_q,
          .max_seqlen_k = problem.max_seqlen_k,
          .softmax_scale = problem.softmax_scale,
          .logits_soft_cap = problem.logits_soft_cap,
          .q_scale = view_of(problem.q_scale),
          .out_scale = view_of(problem.out_scale),
          .alibi_slopes = view_of(problem.alibi_slopes),
          .alibi_sqrt = problem.alibi_sqrt != 0,
          .bias = view_of(problem.bias),
          .sinks = view_of(problem.sinks),
          .mask = mask_of(problem),
          .split_policy = static_cast<SplitPolicy>(problem.split_policy),
          .fixed_split_keys = problem.fixed_split_keys,
          .checked = problem.checked != 0};
}

AttentionLimits to_cpp(const PagodaLimits& limits) {
  return {.device = {static_cast<DeviceType>(limits.device.type), limits.device.index},
          .max_num_tokens = limits.max_num_tokens,
          .max_num_seqs = limits.max_num_seqs,
          .max_seqlen_k = limits.max_seqlen_k,
          .num_q_heads = limits.num_q_heads,
          .num_kv_heads = limits.num_kv_heads,
          .head_dim = limits.head_dim,
          .split_policy = static_cast<SplitPolicy>(limits.split_policy),
          .fixed_split_keys = limits.fixed_split_keys,
          .num_workers = limits.num_workers,
          .kv_dtype = static_cast<DType>(limits.kv_dtype)};
}

MakeKvCache to_cpp(const PagodaMakeKvCache& args) {
  return {.num_pages = args.num_pages,
          .page_size = args.page_size,
          .num_kv_heads = args.num_kv_heads,
          .head_dim = args.head_dim,
          .dtype = static_cast<DType>(args.dtype),
          .layout = static_cast<KvLayout>(args.layout),
          .token_scales = args.token_scales != 0};
}

WriteKvCache to_cpp(const PagodaWriteKvCache& args) {
  return {.k = view_of(args.k),
          .v = view_of(args.v),
          .k_pages = view_of(args.k_pages),
          .v_pages = view_of(args.v_pages),
          .slot_mapping = view_of(args.slot_mapping),
          .k_scale = view_of(args.k_scale),
          .v_scale = view_of(args.v_scale),
          .k_token_scale = view_of(args.k_token_scale),
          .v_token_scale = view_of(args.v_token_scale),
          .rope = {.cos_sin = view_of(args.rope_cos_sin),
                   .positions = view_of(args.rope_positions),
                   .interleaved = args.rope_interleaved != 0,
                   .q = view_of(args.rope_q)},
          .checked = args.checked != 0};
}

AttentionState to_cpp(const PagodaState& state) {
  return {.out = view_of(state.out), .lse = view_of(state.lse)};
}

GatherKvCache to_cpp(const PagodaGatherKvCache& args) {
  return {.kv = paged_kv_of(args),
          .cu_seqlens_k = view_of(args.cu_seqlens_k),
          .seq_starts = view_of(args.seq_starts),
          .k_out = view_of(args.k_out),
          .v_out = view_of(args.v_out),
          .checked = args.checked != 0};
}

CopyPages to_cpp(const PagodaCopyPages& args) {
  return {.source = view_of(args.source),
          .destination = view_of(args.destination),
          .page_pairs = view_of(args.page_pairs),
          .checked = args.checked != 0};
}

PagodaLimits to_c(const AttentionLimits& limits) {
  return {.struct_size = sizeof(PagodaLimits),
          .device = {static_cast<int32_t>(limits.device.type), limits.device.index},
          .max_num_tokens = limits.max_num_tokens,
          .max_num_seqs = limits.max_num_seqs,
          .max_seqlen_k = limits.max_seqlen_k,
          .num_q_heads = limits.num_q_heads,
          .num_kv_heads = limits.num_kv_heads,
          .head_dim = limits.head_dim,
          .split_policy = static_cast<int32_t>(limits.split_policy),
          .fixed_split_keys = limits.fixed_split_keys,
          .num_workers = limits.num_workers,
          .kv_dtype = static_cast<int32_t>(limits.kv_dtype)};
}

PagodaKvCache to_c(HostKvCache cache) {
  const PagedKvCache& views = cache.views;
  const size_t bytes = cache.memory.get_deleter().bytes;
  return {.k_pages = to_c(views.k_pages),
          .v_pages = to_c(views.v_pages),
          .k_token_scale = to_c(views.k_token_scale),
          .v_token_scale = to_c(views.v_token_scale),
          .memory = cache.memory.release(),
          .bytes = bytes};
}

}  // namespace pagoda
