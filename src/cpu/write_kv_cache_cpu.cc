#include <algorithm>
#include <cfloat>

#include "core/arith.h"
#include "core/dtype.h"
#include "core/kv_checks.h"
#include "core/paged_kv.h"
#include "cpu/backend_cpu.h"
#include "cpu/convert_run.h"
#include "cpu/copy_box.h"
#include "cpu/parallel_ranges.h"
#include "cpu/rotate_row.h"

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

float largest_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat8E4M3:
      return kE4M3Max;
    case DType::kFloat8E5M2:
      return kE5M2Max;
    default:
      return kInt8Max;
  }
}

// The largest magnitude, at most the largest finite float; NaN does not count. On bits, which
// order magnitudes as floats do, so that the loop becomes vectors.
float largest_magnitude(Elements row, int32_t head_dim, const Rotation& rotation) {
  constexpr uint32_t kInfinityBits = 0x7f800000u;
  uint32_t largest = 0;
  for_each_run(row, head_dim, rotation, [&](int32_t, const float* values, int32_t count) {
    for (int32_t i = 0; i < count; ++i) {
      const uint32_t magnitude = bit_cast<uint32_t>(values[i]) & 0x7fffffffu;
      largest = max_of(largest, magnitude > kInfinityBits ? 0u : magnitude);
    }
  });
  return std::min(bit_cast<float>(largest), FLT_MAX);
}

// The scale of one row; one per token and head is computed here and stored.
float row_scale(const WriteSide& side, Elements row, TokenSlot slot, int32_t kv_head,
                const Rotation& rotation) {
  if (side.token_scale.data == nullptr) return scale_of(side.scale, 0, kv_head);
  const float largest = largest_magnitude(row, side.head_dim, rotation);
  const float scale = std::max(largest / largest_of(side.pages.dtype), 1e-6f);
  *scale_address(side.token_scale, slot, kv_head) = scale;
  return scale;
}

void write_token(const WriteSide& side, int64_t token, TokenSlot slot, const Rotation& rotation) {
  const Elements rows = side.rows.at(token * side.token_stride);
  if (side.rows.dtype == side.pages.dtype && rotation.rotary_dim == 0) {
    side.token_copy.run(rows.data, side.pages.at(row_offset(side.layout, slot, 0)).data);
    return;
  }
  for (int32_t head = 0; head < side.num_kv_heads; ++head) {
    const Elements row = rows.at(head * side.head_stride);
    const Elements stored = side.pages.at(row_offset(side.layout, slot, head));
    const float scale = row_scale(side, row, slot, head, rotation);
    for_each_run(row, side.head_dim, rotation, [&](int32_t first, float* values, int32_t count) {
      for (int32_t i = 0; i < count; ++i) values[i] /= scale;
      narrow(values, count, stored.at(first));
    });
  }
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

void rotate_q(const TensorView& q, int64_t token, const Rotation& rotation) {
  const Elements rows = Elements{q.data, q.dtype}.at(token * q.stride[0]);
  for (int64_t head = 0; head < q.shape[1]; ++head) {
    const Elements row = rows.at(head * q.stride[1]);
    for_each_rotated_run(row, rotation, [&](int32_t first, const float* values, int32_t count) {
      narrow(values, count, row.at(first));
    });
  }
}

}  // namespace

Status write_kv_cache(const WriteKvCache& args, const Execution& execution) {
  const PagedKvParams kv = lay_out_cache(args);
  const WriteSide k = make_side(args.k, {kv.k, kv.k_scale, kv.k_token_scale}, kv.dtype);
  const WriteSide v = make_side(args.v, {kv.v, kv.v_scale, kv.v_token_scale}, kv.dtype);
  const auto* slots = static_cast<const int64_t*>(args.slot_mapping.data);
  const int64_t slot_stride = args.slot_mapping.stride[0];
  const bool rotates_q = args.rope.cos_sin.present() && args.rope.q.present();
  const int64_t rows_per_token = 4 * args.k.shape[1] + (rotates_q ? 2 * args.rope.q.shape[1] : 0);
  const int64_t row_bytes = args.k.shape[2] * static_cast<int64_t>(size_of(args.k.dtype));
  parallel_ranges(execution, args.k.shape[0], rows_per_token * row_bytes,
                  [&](int64_t begin, int64_t end) {
                    for (int64_t token = begin; token < end; ++token) {
                      const Rotation rotation = rotation_of(args.rope, token);
                      if (rotates_q) rotate_q(args.rope.q, token, rotation);
                      const int64_t slot = slots[token * slot_stride];
                      if (slot < 0) continue;
                      const TokenSlot where{static_cast<int32_t>(slot / kv.page_size),
                                            static_cast<int32_t>(slot % kv.page_size)};
                      write_token(k, token, where, rotation);
                      write_token(v, token, where, {});
                    }
                  });
  return {};
}

}  // namespace pagoda::cpu
