#include <algorithm>

#include "core/checks.h"
#include "core/kv_checks.h"
#include "core/paged_kv.h"
#include "cpu/backend_cpu.h"
#include "cpu/convert_run.h"
#include "cpu/copy_box.h"
#include "cpu/parallel_ranges.h"

namespace pagoda::cpu {
namespace {

// K or V of a call.
struct GatherSide {
  Elements pages;
  PagesParams layout;
  ScaleParams scale;
  TokenScaleParams token_scale;
  Elements out;  // [num_rows, num_kv_heads, head_dim]
  int64_t out_row_stride;
  int64_t out_head_stride;
  int32_t num_kv_heads;
  int32_t head_dim;
  BoxCopy token_copy;  // all heads of a token, as they are
};

struct SideParams {
  const PagesParams& pages;
  const ScaleParams& scale;
  const TokenScaleParams& token_scale;
};

GatherSide make_side(const SideParams& side, DType dtype, const TensorView& out) {
  const auto num_kv_heads = static_cast<int32_t>(out.shape[1]);
  const auto head_dim = static_cast<int32_t>(out.shape[2]);
  return {.pages = {side.pages.data, dtype},
          .layout = side.pages,
          .scale = side.scale,
          .token_scale = side.token_scale,
          .out = {out.data, out.dtype},
          .out_row_stride = out.stride[0],
          .out_head_stride = out.stride[1],
          .num_kv_heads = num_kv_heads,
          .head_dim = head_dim,
          .token_copy = BoxCopy(
              dtype, {{num_kv_heads, side.pages.head_stride, out.stride[1]}, {head_dim, 1, 1}})};
}

void gather_row(Elements stored, float scale, int32_t head_dim, Elements out) {
  float values[kRunElements];
  for (int32_t first = 0; first < head_dim; first += kRunElements) {
    const int32_t count = std::min(kRunElements, head_dim - first);
    widen(stored.at(first), count, values);
    if (scale != 1.0f) {
      for (int32_t i = 0; i < count; ++i) values[i] *= scale;
    }
    narrow(values, count, out.at(first));
  }
}

// Tokens of one page that follow each other, to as many rows.
struct PageTokens {
  int32_t seq;
  TokenSlot slot;  // of the first token
  int64_t out_row;
  int64_t count;
};

void gather_tokens(const GatherSide& side, const PageTokens& tokens) {
  const Elements out = side.out.at(tokens.out_row * side.out_row_stride);
  if (side.pages.dtype == side.out.dtype) {
    side.token_copy.run(side.pages.at(row_offset(side.layout, tokens.slot, 0)).data, out.data,
                        {tokens.count, side.layout.token_stride, side.out_row_stride});
    return;
  }
  for (int64_t i = 0; i < tokens.count; ++i) {
    const TokenSlot slot{tokens.slot.page, tokens.slot.offset + static_cast<int32_t>(i)};
    for (int32_t head = 0; head < side.num_kv_heads; ++head) {
      const float scale = side.token_scale.data != nullptr
                              ? *scale_address(side.token_scale, slot, head)
                              : scale_of(side.scale, tokens.seq, head);
      gather_row(side.pages.at(row_offset(side.layout, slot, head)), scale, side.head_dim,
                 out.at(i * side.out_row_stride + head * side.out_head_stride));
    }
  }
}

}  // namespace

Status gather_kv_cache(const GatherKvCache& args, const Execution& execution) {
  const auto* cu_seqlens = static_cast<const int32_t*>(args.cu_seqlens_k.data);
  const auto* starts = static_cast<const int32_t*>(args.seq_starts.data);
  const auto num_seqs = static_cast<int32_t>(args.cu_seqlens_k.shape[0] - 1);
  BlockTableParams table;
  PAGODA_RETURN_IF_ERROR(
      lay_out_block_table(args.kv, num_seqs, {args.kv.k_pages.device, "k_pages"}, &table));
  const PagedKvParams kv = lay_out_paged_kv(args.kv, table);
  const GatherSide k = make_side({kv.k, kv.k_scale, kv.k_token_scale}, kv.dtype, args.k_out);
  const GatherSide v = make_side({kv.v, kv.v_scale, kv.v_token_scale}, kv.dtype, args.v_out);

  const int64_t elements = args.k_out.shape[1] * args.k_out.shape[2];
  const auto traffic =
      2 * elements * static_cast<int64_t>(size_of(kv.dtype) + size_of(args.k_out.dtype));
  parallel_ranges(execution, cu_seqlens[num_seqs], traffic, [&](int64_t begin, int64_t end) {
    // The sequence of the first row: the last one that begins at or before it.
    auto seq = static_cast<int32_t>(std::upper_bound(cu_seqlens, cu_seqlens + num_seqs, begin) -
                                    cu_seqlens - 1);
    for (int64_t row = begin; row < end;) {
      while (row >= cu_seqlens[seq + 1]) ++seq;
      const int64_t start = starts != nullptr ? starts[seq] : 0;
      const TokenSlot slot = token_slot(page_ids(kv.block_table, seq), kv.page_size,
                                        static_cast<int32_t>(start + row - cu_seqlens[seq]));
      const int64_t rows_left = std::min<int64_t>(end, cu_seqlens[seq + 1]) - row;
      const int64_t count = std::min<int64_t>(kv.page_size - slot.offset, rows_left);
      gather_tokens(k, {seq, slot, row, count});
      gather_tokens(v, {seq, slot, row, count});
      row += count;
    }
  });
  return {};
}

}  // namespace pagoda::cpu
