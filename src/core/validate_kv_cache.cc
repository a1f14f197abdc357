#include <string>

#include "core/checks.h"
#include "core/contents_checks.h"
#include "core/kv_checks.h"
#include "core/validate.h"

namespace pagoda {
namespace {

bool on_cpu(const TensorView& view) {
  return view.device.type == DeviceType::kCpu;
}

// Of an int64 vector.
int64_t index_at(const TensorView& indices, int64_t i) {
  return static_cast<const int64_t*>(indices.data)[i * indices.stride[0]];
}

Status check_new_rows(const WriteKvCache& args, const Place& place) {
  PAGODA_RETURN_IF_ERROR(check_tensor(args.k,
                                      {.name = "k",
                                       .dtypes = kWideFloats,
                                       .shape = {{"num_tokens"}, {"num_kv_heads"}, {"head_dim"}},
                                       .strides = StrideRule::kDenseRows},
                                      place));
  PAGODA_RETURN_IF_ERROR(check_between("num_tokens", args.k.shape[0], 0, kMaxInt32));
  return check_tensor(args.v,
                      {.name = "v",
                       .dtypes = {args.k.dtype},
                       .shape = {{"num_tokens", args.k.shape[0]},
                                 {"num_kv_heads", args.k.shape[1]},
                                 {"head_dim", args.k.shape[2]}},
                       .strides = StrideRule::kDenseRows},
                      place);
}

// Without cosines and sines the rest would be ignored, and K written as it is.
Status check_no_rope(const Rope& rope) {
  const char* given = rope.positions.present() ? "positions"
                      : rope.q.present()       ? "q"
                      : rope.interleaved       ? "interleaved"
                                               : nullptr;
  if (given == nullptr) return {};
  return invalid_argument("rope.cos_sin: got none with rope.", given,
                          ", wants float32, float16 or bfloat16 [max_position, rotary_dim] with "
                          "it; leave out the rest of rope for no rotation");
}

Status check_rope(const WriteKvCache& args, const Place& place) {
  const Rope& rope = args.rope;
  if (!rope.cos_sin.present()) return check_no_rope(rope);
  const int64_t num_tokens = args.k.shape[0];
  const int64_t head_dim = args.k.shape[2];
  PAGODA_RETURN_IF_ERROR(check_tensor(rope.cos_sin,
                                      {.name = "rope.cos_sin",
                                       .dtypes = kWideFloats,
                                       .shape = {{"max_position"}, {"rotary_dim"}},
                                       .strides = StrideRule::kDenseRows},
                                      place));
  const int64_t rotary_dim = rope.cos_sin.shape[1];
  if (rotary_dim < 2 || rotary_dim > head_dim || rotary_dim % 2 != 0) {
    return invalid_argument("rope.cos_sin: got rotary_dim=", rotary_dim,
                            ", wants an even number from 2 to head_dim=", head_dim);
  }
  PAGODA_RETURN_IF_ERROR(check_tensor(
      rope.positions,
      {.name = "rope.positions", .dtypes = {DType::kInt64}, .shape = {{"num_tokens", num_tokens}}},
      place));
  if (!rope.q.present()) return {};
  return check_tensor(
      rope.q,
      {.name = "rope.q",
       .dtypes = kWideFloats,
       .shape = {{"num_tokens", num_tokens}, {"num_q_heads"}, {"head_dim", head_dim}},
       .strides = StrideRule::kDenseRows,
       .is_written = true},
      place);
}

Status check_written_apart(const WriteKvCache& args) {
  const NamedTensor k{"k", args.k};
  const NamedTensor v{"v", args.v};
  const NamedTensor q{"rope.q", args.rope.q};
  const NamedTensor k_pages{"k_pages", args.k_pages};
  const NamedTensor v_pages{"v_pages", args.v_pages};
  const NamedTensor k_scale{"k_token_scale", args.k_token_scale};
  const NamedTensor v_scale{"v_token_scale", args.v_token_scale};
  PAGODA_RETURN_IF_ERROR(check_apart(v_pages, {k_pages, k, v, q}));
  PAGODA_RETURN_IF_ERROR(check_apart(k_pages, {k, v, q}));
  PAGODA_RETURN_IF_ERROR(check_apart(q, {k, v}));
  PAGODA_RETURN_IF_ERROR(check_apart(v_scale, {k_scale, k_pages, v_pages, k, v, q}));
  return check_apart(k_scale, {k_pages, v_pages, k, v, q});
}

// Positions of tokens that are skipped and have no q to rotate are not read.
Status check_write_contents(const WriteKvCache& args) {
  const int64_t num_slots = args.k_pages.shape[0] * args.k_pages.shape[1];
  const int64_t max_position = args.rope.cos_sin.shape[0];
  const bool rotates = args.rope.cos_sin.present();
  for (int64_t token = 0; token < args.k.shape[0]; ++token) {
    const int64_t slot = index_at(args.slot_mapping, token);
    if (slot >= num_slots) {
      return invalid_contents("slot_mapping: out of range at (token ", token, ", value ", slot,
                              "), wants slot < num_pages * page_size=", num_slots,
                              ", or negative to skip the token");
    }
    if (!rotates || (slot < 0 && !args.rope.q.present())) continue;
    const int64_t position = index_at(args.rope.positions, token);
    if (position >= 0 && position < max_position) continue;
    return invalid_contents("rope.positions: out of range at (token ", token, ", value ", position,
                            "), wants 0 <= position < max_position=", max_position);
  }
  return {};
}

Status check_state(const std::string& name, const AttentionState& state, const Extent (&shape)[3],
                   LseLayout layout, const Place& place, bool is_merged) {
  const std::string out_name = name + ".out";
  const std::string lse_name = name + ".lse";
  PAGODA_RETURN_IF_ERROR(check_tensor(state.out,
                                      {.name = out_name.c_str(),
                                       .dtypes = kWideFloats,
                                       .shape = {shape[0], shape[1], shape[2]},
                                       .strides = StrideRule::kDenseRows,
                                       .is_written = is_merged},
                                      place));
  if (is_merged && !state.lse.present()) return {};
  return check_lse(state.lse,
                   {.name = lse_name.c_str(),
                    .layout = layout,
                    .num_tokens = state.out.shape[0],
                    .num_q_heads = state.out.shape[1],
                    .is_written = is_merged},
                   place);
}

// `merged` may be the state, but not the one's out the other's lse.
Status check_merged_apart(const AttentionState& merged, const std::string& name,
                          const AttentionState& state) {
  const std::string out_name = name + ".out";
  const std::string lse_name = name + ".lse";
  PAGODA_RETURN_IF_ERROR(check_apart({"merged.out", merged.out}, {{lse_name.c_str(), state.lse}}));
  return check_apart({"merged.lse", merged.lse}, {{out_name.c_str(), state.out}});
}

Status check_gather_out(const char* name, const TensorView& out, const GatherKvCache& args,
                        DTypeSet dtypes, int64_t num_rows) {
  const TensorView& pages = args.kv.k_pages;
  return check_tensor(out,
                      {.name = name,
                       .dtypes = dtypes,
                       .shape = {{"num_rows", num_rows},
                                 {"num_kv_heads", pages.shape[2]},
                                 {"head_dim", pages.shape[3]}},
                       .strides = StrideRule::kDenseRows,
                       .is_written = true},
                      {pages.device, "k_pages"});
}

Status check_gather_contents(const GatherKvCache& args, const PagedKvParams& kv, int32_t num_seqs) {
  const auto* cu_seqlens = static_cast<const int32_t*>(args.cu_seqlens_k.data);
  const auto* starts = static_cast<const int32_t*>(args.seq_starts.data);
  PAGODA_RETURN_IF_ERROR(check_prefix_sums({.name = "cu_seqlens_k",
                                            .data = cu_seqlens,
                                            .num_seqs = num_seqs,
                                            .limit_name = "num_rows",
                                            .limit = args.k_out.shape[0]}));
  PAGODA_RETURN_IF_ERROR(check_table_rows(kv.block_table, num_seqs));
  const char* length_name = starts == nullptr ? "cu_seqlens_k" : "seq_starts + length";
  const bool dequantises = args.k_out.dtype != args.kv.k_pages.dtype;
  const auto num_kv_heads = static_cast<int32_t>(args.kv.k_pages.shape[2]);
  for (int32_t seq = 0; seq < num_seqs; ++seq) {
    const int64_t begin = starts == nullptr ? 0 : starts[seq];
    if (begin < 0) {
      return invalid_contents("seq_starts: out of range at (sequence ", seq, ", value ", begin,
                              "), wants 0 <= value");
    }
    const int64_t length = int64_t{cu_seqlens[seq + 1]} - cu_seqlens[seq];
    if (length == 0) continue;
    const TokenRange tokens{seq, begin, begin + length};
    PAGODA_RETURN_IF_ERROR(check_page_ids(kv, tokens, length_name));
    if (dequantises) PAGODA_RETURN_IF_ERROR(check_token_scales(kv, num_kv_heads, tokens));
  }
  return {};
}

}  // namespace

Status validate_write_kv_cache(const WriteKvCache& args) {
  const Place place{args.k_pages.device, "k_pages"};
  PAGODA_RETURN_IF_ERROR(check_new_rows(args, place));
  PAGODA_RETURN_IF_ERROR(check_pages(args.k_pages, args.v_pages,
                                     {.dtypes = kQuantised | DTypeSet{args.k.dtype},
                                      .num_kv_heads = args.k.shape[1],
                                      .head_dim = args.k.shape[2],
                                      .is_written = true},
                                     place));
  PAGODA_RETURN_IF_ERROR(check_tensor(args.slot_mapping,
                                      {.name = "slot_mapping",
                                       .dtypes = {DType::kInt64},
                                       .shape = {{"num_tokens", args.k.shape[0]}}},
                                      place));
  PAGODA_RETURN_IF_ERROR(
      check_kv_scales({args.k_scale, args.v_scale, args.k_token_scale, args.v_token_scale},
                      {.pages = args.k_pages,
                       .range = ScaleRange::kPositive,
                       .read_values = true,
                       .are_written = true},
                      place));
  PAGODA_RETURN_IF_ERROR(check_rope(args, place));
  PAGODA_RETURN_IF_ERROR(check_written_apart(args));
  return args.checked && on_cpu(args.k_pages) ? check_write_contents(args) : Status{};
}

Status validate_merge_states(const AttentionState* states, int32_t num_states,
                             const AttentionState& merged, LseLayout lse_layout) {
  if (states == nullptr) return invalid_argument("states: got null, wants num_states states");
  PAGODA_RETURN_IF_ERROR(check_at_least("num_states", num_states, 1));
  PAGODA_RETURN_IF_ERROR(check_lse_layout(lse_layout));
  const Place place{merged.out.device, "merged.out"};
  const Extent any[] = {{"num_tokens"}, {"num_q_heads"}, {"head_dim"}};
  PAGODA_RETURN_IF_ERROR(check_state("merged", merged, any, lse_layout, place, true));
  const int64_t* shape = merged.out.shape;
  const Extent same[] = {
      {"num_tokens", shape[0]}, {"num_q_heads", shape[1]}, {"head_dim", shape[2]}};
  for (int32_t i = 0; i < num_states; ++i) {
    const std::string name = "states[" + std::to_string(i) + "]";
    PAGODA_RETURN_IF_ERROR(check_state(name, states[i], same, lse_layout, place, false));
    PAGODA_RETURN_IF_ERROR(check_merged_apart(merged, name, states[i]));
  }
  return check_apart({"merged.out", merged.out}, {{"merged.lse", merged.lse}});
}

Status validate_gather_kv_cache(const GatherKvCache& args) {
  const TensorView& pages = args.kv.k_pages;
  const Place place{pages.device, "k_pages"};
  PAGODA_RETURN_IF_ERROR(check_pages(pages, args.kv.v_pages, {.dtypes = kPages}, place));
  const DTypeSet out_dtypes = kWideFloats | DTypeSet{pages.dtype};
  PAGODA_RETURN_IF_ERROR(check_gather_out("k_out", args.k_out, args, out_dtypes, Extent::kAny));
  const int64_t num_rows = args.k_out.shape[0];
  PAGODA_RETURN_IF_ERROR(check_gather_out("v_out", args.v_out, args, {args.k_out.dtype}, num_rows));
  PAGODA_RETURN_IF_ERROR(check_tensor(args.cu_seqlens_k,
                                      {.name = "cu_seqlens_k",
                                       .dtypes = {DType::kInt32},
                                       .shape = {{"num_seqs + 1"}},
                                       .strides = StrideRule::kContiguous},
                                      place));
  const int64_t num_seqs = args.cu_seqlens_k.shape[0] - 1;
  PAGODA_RETURN_IF_ERROR(check_between("num_seqs", num_seqs, 0, kMaxInt32 - 1));
  BlockTableParams table;
  PAGODA_RETURN_IF_ERROR(lay_out_block_table(args.kv, num_seqs, place, &table));
  const PagedKvCache& kv = args.kv;
  PAGODA_RETURN_IF_ERROR(
      check_kv_scales({kv.k_scale, kv.v_scale, kv.k_token_scale, kv.v_token_scale},
                      {.pages = pages,
                       .num_seqs = num_seqs,
                       .read_values = true,
                       .are_needed = args.k_out.dtype != pages.dtype},
                      place));
  if (args.seq_starts.present()) {
    PAGODA_RETURN_IF_ERROR(check_tensor(args.seq_starts,
                                        {.name = "seq_starts",
                                         .dtypes = {DType::kInt32},
                                         .shape = {{"num_seqs", num_seqs}},
                                         .strides = StrideRule::kContiguous},
                                        place));
  }
  const NamedTensor k_pages{"k_pages", kv.k_pages};
  const NamedTensor v_pages{"v_pages", kv.v_pages};
  const NamedTensor k_out{"k_out", args.k_out};
  PAGODA_RETURN_IF_ERROR(check_apart({"v_out", args.v_out}, {k_out, k_pages, v_pages}));
  PAGODA_RETURN_IF_ERROR(check_apart(k_out, {k_pages, v_pages}));
  if (!args.checked || !on_cpu(pages) || num_seqs == 0) return {};
  return check_gather_contents(args, lay_out_paged_kv(kv, table), static_cast<int32_t>(num_seqs));
}

}  // namespace pagoda
