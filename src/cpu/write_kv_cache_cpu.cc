#include <algorithm>

#include "core/arith.h"
#include "core/dtype.h"
#include "core/kv_checks.h"
#include "core/paged_kv.h"
#include "cpu/backend_cpu.h"
#include "cpu/convert_run.h"
#include "cpu/copy_box.h"
#include "cpu/parallel_ranges.h"
#include "cpu/rotate_row.h"
#include "semantics/quant.h"

namespace pagoda::cpu {
namespace {

// K or V of a call.
struct WriteSide {
  Elements rows;  // [num_tokens, num_kv_heads, head_dim]
  int64_t token_stride;
  int64_t head_stride;
  Elements pages;
  PagesParams layout;
  ScaleParams scale;
  TokenScaleParams token_scale;
  int32_t num_kv_heads;
  int32_t head_dim;
  BoxCopy token_copy;  // all heads of a token, as they are
};

struct SideParams {
  const PagesParams& pages;
  const ScaleParams& scale;
  const TokenScaleParams& token_scale;
};

WriteSide make_side(const TensorView& rows, const SideParams& side, DType pages_dtype) {
  const auto num_kv_heads = static_cast<int32_t>(rows.shape[1]);
  const auto head_dim = static_cast<int32_t>(rows.shape[2]);
  return {.rows = {rows.data, rows.dtype},
          .token_stride = rows.stride[0],
          .head_stride = rows.stride[1],
          .pages = {side.pages.data, pages_dtype},
          .layout = side.pages,
          .scale = side.scale,
          .token_scale = side.token_scale,
          .num_kv_heads = num_kv_heads,
          .head_dim = head_dim,
          .token_copy = BoxCopy(rows.dtype, {{num_kv_heads, rows.stride[1], side.pages.head_stride},
                                             {head_dim, 1, 1}})};
}

PagedKvParams lay_out_cache(const WriteKvCache& args) {
  PagedKvCache cache;
  cache.k_pages = args.k_pages;
  cache.v_pages = args.v_pages;
  cache.k_scale = args.k_scale;
  cache.v_scale = args.v_scale;
  cache.k_token_scale = args.k_token_scale;
  cache.v_token_scale = args.v_token_scale;
  return lay_out_paged_kv(cache, {});
}

int32_t largest_bits(Elements row, int32_t head_dim, const Rotation& rotation) {
  int32_t largest = 0;
  for_each_run(row, head_dim, rotation, [&](int32_t, const float* values, int32_t count) {
    for (int32_t i = 0; i < count; ++i) largest = max_of(largest, magnitude_bits(values[i]));
  });
  return largest;
}

// The scale of one row; one per token and head is computed here and stored.
float row_scale(const WriteSide& side, Elements row, TokenSlot slot, int32_t kv_head,
                const Rotation& rotation) {
  if (side.token_scale.data == nullptr) return scale_of(side.scale, 0, kv_head);
  const float scale = token_scale_of(largest_bits(row, side.head_dim, rotation), side.pages.dtype);
  *scale_address(side.token_scale, slot, kv_head) = scale;
  return scale;
}

void write_row(const WriteSide& side, Elements row, TokenSlot slot, int32_t head,
               const Rotation& rotation) {
  const Elements stored = side.pages.at(row_offset(side.layout, slot, head));
  const float scale = row_scale(side, row, slot, head, rotation);
  for_each_run(row, side.head_dim, rotation, [&](int32_t first, float* values, int32_t count) {
    if (scale != 1.0f) {
      for (int32_t i = 0; i < count; ++i) values[i] /= scale;
    }
    narrow(values, count, stored.at(first));
  });
}

Rotation rotation_of(const Rope& rope, int64_t token) {
  if (!rope.cos_sin.present()) return {};
  const auto* positions = static_cast<const int64_t*>(rope.positions.data);
  const int64_t position = positions[token * rope.positions.stride[0]];
  const Elements table{rope.cos_sin.data, rope.cos_sin.dtype};
  return {.cos_sin = table.at(position * rope.cos_sin.stride[0]),
          .rotary_dim = static_cast<int32_t>(rope.cos_sin.shape[1]),
          .interleaved = rope.interleaved};
}

struct TokenRange {
  int64_t begin;
  int64_t end;
};

// Where the tokens of a call go.
class Slots {
 public:
  Slots(const TensorView& slots, int32_t page_size)
      : slots_(static_cast<const int64_t*>(slots.data)),
        stride_(slots.stride[0]),
        page_size_(page_size) {}

  bool is_skipped(int64_t token) const { return slot(token) < 0; }

  TokenSlot operator[](int64_t token) const { return mapped_slot(slot(token), page_size_); }

  // How many tokens, from the first of the range on, follow each other in one page.
  int64_t num_adjacent(TokenRange tokens) const {
    const int64_t room = page_size_ - (*this)[tokens.begin].offset;
    const int64_t most = std::min(room, tokens.end - tokens.begin);
    int64_t count = 1;
    while (count < most && slot(tokens.begin + count) == slot(tokens.begin) + count) ++count;
    return count;
  }

 private:
  int64_t slot(int64_t token) const { return slots_[token * stride_]; }

  const int64_t* slots_;
  int64_t stride_;
  int32_t page_size_;
};

void copy_tokens(const WriteSide& side, const Slots& slots, TokenRange tokens) {
  for (int64_t token = tokens.begin; token < tokens.end;) {
    if (slots.is_skipped(token)) {
      ++token;
      continue;
    }
    const int64_t count = slots.num_adjacent({token, tokens.end});
    side.token_copy.run(side.rows.at(token * side.token_stride).data,
                        side.pages.at(row_offset(side.layout, slots[token], 0)).data,
                        {count, side.token_stride, side.layout.token_stride});
    token += count;
  }
}

void write_tokens(const WriteSide& side, const Slots& slots, TokenRange tokens, const Rope& rope) {
  if (side.rows.dtype == side.pages.dtype && !rope.cos_sin.present()) {
    copy_tokens(side, slots, tokens);
    return;
  }
  for (int64_t token = tokens.begin; token < tokens.end; ++token) {
    if (slots.is_skipped(token)) continue;
    const Rotation rotation = rotation_of(rope, token);
    const Elements rows = side.rows.at(token * side.token_stride);
    for (int32_t head = 0; head < side.num_kv_heads; ++head) {
      write_row(side, rows.at(head * side.head_stride), slots[token], head, rotation);
    }
  }
}

void rotate_q(const Rope& rope, TokenRange tokens) {
  const TensorView& q = rope.q;
  for (int64_t token = tokens.begin; token < tokens.end; ++token) {
    const Rotation rotation = rotation_of(rope, token);
    for (int64_t head = 0; head < q.shape[1]; ++head) {
      const Elements row = Elements{q.data, q.dtype}.at(token * q.stride[0] + head * q.stride[1]);
      for_each_rotated_run(row, rotation, [&](int32_t first, const float* values, int32_t count) {
        narrow(values, count, row.at(first));
      });
    }
  }
}

}  // namespace

Status write_kv_cache(const WriteKvCache& args, const Execution& execution) {
  const PagedKvParams kv = lay_out_cache(args);
  const WriteSide k = make_side(args.k, {kv.k, kv.k_scale, kv.k_token_scale}, kv.dtype);
  const WriteSide v = make_side(args.v, {kv.v, kv.v_scale, kv.v_token_scale}, kv.dtype);
  const Slots slots(args.slot_mapping, kv.page_size);
  const bool rotates_q = args.rope.cos_sin.present() && args.rope.q.present();
  const int64_t rows_per_token = 4 * args.k.shape[1] + (rotates_q ? 2 * args.rope.q.shape[1] : 0);
  const int64_t row_bytes = args.k.shape[2] * static_cast<int64_t>(size_of(args.k.dtype));
  parallel_ranges(execution, args.k.shape[0], rows_per_token * row_bytes,
                  [&](int64_t begin, int64_t end) {
                    if (rotates_q) rotate_q(args.rope, {begin, end});
                    write_tokens(k, slots, {begin, end}, args.rope);
                    write_tokens(v, slots, {begin, end}, {});
                  });
  return {};
}

}  // namespace pagoda::cpu
