// The KV-cache operations' host side: lays out arguments, chooses between accesses of 16 bytes and
// of single elements, launches. No allocation, no synchronisation: every call can be captured.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <initializer_list>

#include "core/arith.h"
#include "core/checks.h"
#include "core/kv_checks.h"
#include "cuda/backend_cuda.h"
#include "cuda/device_guard.h"
#include "cuda/device_status.h"
#include "cuda/kernels/cache/copy_pages.h"
#include "cuda/kernels/cache/gather_kv_cache.h"
#include "cuda/kernels/cache/merge_states.h"
#include "cuda/kernels/cache/write_kv_cache.h"
#include "cuda/page_box.h"
#include "cuda/swap_pages.h"

namespace pagoda::cuda {
namespace {

constexpr int64_t kVectorElements = 8;
constexpr int64_t kAccessBytes = 16;  // the widest

cudaStream_t stream_of(const Execution& execution) {
  return static_cast<cudaStream_t>(execution.stream);
}

RowsParams lay_out_rows(const TensorView& rows) {
  return {rows.data, rows.dtype, rows.stride[0], rows.stride[1]};
}

// Kernels number rows, one per token and head, in 32 bits.
Status check_num_rows(const TensorView& rows, const char* name) {
  const int64_t most = kMaxInt32 / std::max<int64_t>(rows.shape[1], 1);
  if (rows.shape[0] <= most) return {};
  return {StatusCode::kUnsupported,
          text(name, ": got shape ", shape_text(rows), ", the CUDA backend takes at most ", most,
               " tokens of ", rows.shape[1], " heads; split the call")};
}

// Whether every row can be read and written in chunks of kVectorElements.
bool rows_are_aligned(const TensorView& rows) {
  const auto element = static_cast<int64_t>(size_of(rows.dtype));
  const int64_t access = std::min(kVectorElements * element, kAccessBytes);
  const int last = rows.rank - 1;
  if (rows.shape[last] % kVectorElements != 0) return false;
  for (int i = 0; i < last; ++i) {
    if (rows.shape[i] > 1 && rows.stride[i] * element % access != 0) return false;
  }
  return reinterpret_cast<uintptr_t>(rows.data) % static_cast<uintptr_t>(access) == 0;
}

bool all_aligned(std::initializer_list<TensorView> tensors) {
  return std::all_of(tensors.begin(), tensors.end(), rows_are_aligned);
}

// Whether both halves of every row of cosines and sines are whole, aligned chunks.
bool rope_in_vectors(const Rope& rope) {
  if (!rope.cos_sin.present()) return true;
  const bool has_whole_halves = rope.cos_sin.shape[1] % (2 * kVectorElements) == 0;
  return has_whole_halves && rows_are_aligned(rope.cos_sin) &&
         (!rope.q.present() || rows_are_aligned(rope.q));
}

RopeParams lay_out_rope(const Rope& rope) {
  if (!rope.cos_sin.present()) return {};
  return {.cos_sin = rope.cos_sin.data,
          .dtype = rope.cos_sin.dtype,
          .position_stride = rope.cos_sin.stride[0],
          .positions = static_cast<const int64_t*>(rope.positions.data),
          .positions_stride = rope.positions.stride[0],
          .rotary_dim = static_cast<int32_t>(rope.cos_sin.shape[1]),
          .interleaved = rope.interleaved};
}

MergeState lay_out_state(const AttentionState& state, LseLayout layout) {
  const bool heads_first = layout == LseLayout::kHeadsTokens;
  return {.out = lay_out_rows(state.out),
          .lse = static_cast<float*>(state.lse.data),
          .lse_token_stride = state.lse.stride[heads_first ? 1 : 0],
          .lse_head_stride = state.lse.stride[heads_first ? 0 : 1]};
}

}  // namespace

Status write_kv_cache(const WriteKvCache& args, const Execution& execution) {
  const int32_t device = args.k_pages.device.index;
  PAGODA_RETURN_IF_ERROR(check_hopper(device));
  PAGODA_RETURN_IF_ERROR(check_num_rows(args.k, "k"));
  const bool rotates_q = args.rope.cos_sin.present() && args.rope.q.present();
  if (rotates_q) PAGODA_RETURN_IF_ERROR(check_num_rows(args.rope.q, "rope.q"));
  PagedKvCache cache;
  cache.k_pages = args.k_pages;
  cache.v_pages = args.v_pages;
  cache.k_scale = args.k_scale;
  cache.v_scale = args.v_scale;
  cache.k_token_scale = args.k_token_scale;
  cache.v_token_scale = args.v_token_scale;
  const PagedKvParams kv = lay_out_paged_kv(cache, {});
  const WriteParams params{
      .k = {lay_out_rows(args.k), kv.k, kv.k_scale, kv.k_token_scale},
      .v = {lay_out_rows(args.v), kv.v, kv.v_scale, kv.v_token_scale},
      .pages_dtype = kv.dtype,
      .slots = static_cast<const int64_t*>(args.slot_mapping.data),
      .slots_stride = args.slot_mapping.stride[0],
      .rope = lay_out_rope(args.rope),
      .q = rotates_q ? lay_out_rows(args.rope.q) : RowsParams{},
      .num_q_heads = rotates_q ? static_cast<int32_t>(args.rope.q.shape[1]) : 0,
      .page_size = kv.page_size,
      .num_tokens = static_cast<int32_t>(args.k.shape[0]),
      .num_kv_heads = static_cast<int32_t>(args.k.shape[1]),
      .head_dim = static_cast<int32_t>(args.k.shape[2]),
      .in_vectors =
          all_aligned({args.k, args.v, args.k_pages, args.v_pages}) && rope_in_vectors(args.rope)};
  const DeviceGuard guard(device);
  return device_error(launch_write_kv_cache(params, stream_of(execution)));
}

Status merge_states(const AttentionState* states, int32_t num_states, const AttentionState& merged,
                    LseLayout lse_layout, const Execution& execution) {
  const TensorView& out = merged.out;
  PAGODA_RETURN_IF_ERROR(check_hopper(out.device.index));
  PAGODA_RETURN_IF_ERROR(check_num_rows(out, "merged.out"));
  PAGODA_RETURN_IF_ERROR(check_between("head_dim", out.shape[2], 0, kMaxInt32));
  if (num_states > kMaxMergedStates) {
    return {StatusCode::kUnsupported,
            text("num_states: got ", num_states, ", the CUDA backend takes at most ",
                 kMaxMergedStates, "; merge in two calls")};
  }
  MergeState list[kMaxMergedStates];
  bool in_vectors = rows_are_aligned(out);
  for (int32_t i = 0; i < num_states; ++i) {
    list[i] = lay_out_state(states[i], lse_layout);
    in_vectors =
        in_vectors && rows_are_aligned(states[i].out) && states[i].out.dtype == states[0].out.dtype;
  }
  const MergeParams params{.merged = lay_out_state(merged, lse_layout),
                           .num_states = num_states,
                           .num_tokens = static_cast<int32_t>(out.shape[0]),
                           .num_heads = static_cast<int32_t>(out.shape[1]),
                           .head_dim = static_cast<int32_t>(out.shape[2]),
                           .in_vectors = in_vectors};
  const DeviceGuard guard(out.device.index);
  return device_error(launch_merge_states(params, list, stream_of(execution)));
}

Status gather_kv_cache(const GatherKvCache& args, const Execution& execution) {
  const Device device = args.kv.k_pages.device;
  PAGODA_RETURN_IF_ERROR(check_hopper(device.index));
  PAGODA_RETURN_IF_ERROR(check_num_rows(args.k_out, "k_out"));
  const auto num_seqs = static_cast<int32_t>(args.cu_seqlens_k.shape[0] - 1);
  BlockTableParams table;
  PAGODA_RETURN_IF_ERROR(lay_out_block_table(args.kv, num_seqs, {device, "k_pages"}, &table));
  const GatherParams params{
      .kv = lay_out_paged_kv(args.kv, table),
      .k_out = lay_out_rows(args.k_out),
      .v_out = lay_out_rows(args.v_out),
      .cu_seqlens = static_cast<const int32_t*>(args.cu_seqlens_k.data),
      .seq_starts = static_cast<const int32_t*>(args.seq_starts.data),
      .num_seqs = num_seqs,
      .num_rows = static_cast<int32_t>(args.k_out.shape[0]),
      .num_kv_heads = static_cast<int32_t>(args.k_out.shape[1]),
      .head_dim = static_cast<int32_t>(args.k_out.shape[2]),
      .in_vectors = all_aligned({args.kv.k_pages, args.kv.v_pages, args.k_out, args.v_out})};
  const DeviceGuard guard(device.index);
  return device_error(launch_gather_kv_cache(params, stream_of(execution)));
}

Status copy_pages(const CopyPages& args, const Execution& execution) {
  PAGODA_RETURN_IF_ERROR(check_hopper(args.source.device.index));
  const int64_t num_pairs = args.page_pairs.shape[0];
  if (num_pairs == 0 || !has_elements(args.source) || !has_elements(args.destination)) return {};
  const CopyParams params{.box = make_page_box(args.source, args.destination),
                          .source = args.source.data,
                          .destination = args.destination.data,
                          .page_pairs = static_cast<const int64_t*>(args.page_pairs.data),
                          .num_pairs = num_pairs};
  const int64_t num_units = params.box.num_units();
  if (num_units > kMaxInt32 || num_pairs > kMaxInt32 / ceil_div(num_units, kMinCopyCtaUnits)) {
    return {StatusCode::kUnsupported,
            text("page_pairs: got ", num_pairs, " pages of ", num_units, " units of ",
                 params.box.unit_bytes, " bytes, the CUDA backend takes fewer; split the call")};
  }
  const DeviceGuard guard(args.source.device.index);
  return device_error(launch_copy_pages(params, stream_of(execution)));
}

Status swap_pages(const CopyPages& args, const Execution& execution) {
  if (!has_elements(args.source) || !has_elements(args.destination)) return {};
  const bool from_cuda = args.source.device.type == DeviceType::kCuda;
  const int32_t device = (from_cuda ? args.source : args.destination).device.index;
  const DeviceGuard guard(device);
  return device_error(enqueue_swap(args, device, stream_of(execution)));
}

}  // namespace pagoda::cuda
