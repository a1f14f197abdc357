// The order in which workers take whole units, where that is better than shares: see
// whole_units_pay().
#ifndef PAGODA_PLAN_UNIT_QUEUE_H_
#define PAGODA_PLAN_UNIT_QUEUE_H_

#include "plan/share.h"

namespace pagoda {

// Half of a GPU's L2, whose halves copy what their cores read from the other's memory.
constexpr int64_t kSectionBytes = int64_t{24} << 20;

// Bytes of a sequence's keys and values, of all heads. Of 8-bit ones those that are read often are
// 16-bit copies.
PAGODA_HD int64_t kv_bytes(const AttentionParams& params, int32_t k_len) {
  return int64_t{2} * k_len * params.num_kv_heads * params.head_dim * 2;
}

// The row tile of the batch, as in CostLine, whose sequence has the queue's unit `index`: sequences
// are taken from the back.
PAGODA_HD int32_t queued_tile(const AttentionParams& params, int32_t num_units, int32_t index) {
  return (num_units - 1 - index) / params.num_kv_heads;
}

// Unit `index` of the queue, as a bound before it; its sequence has row tiles [tile_begin,
// tile_end). Of a sequence as many heads at a time as have room for K and V in L2, where all
// workers then find them; of these the last row tiles first, which are the long ones if it is
// causal.
PAGODA_HD ShareBound queued_unit(const AttentionParams& params, const SequenceShape& shape,
                                 int32_t tile_begin, int32_t tile_end, int32_t tile_rows,
                                 int32_t num_units, int32_t index) {
  const int32_t num_heads = params.num_kv_heads;
  const int32_t num_tiles = tile_end - tile_begin;
  const int32_t in_sequence = index - (num_units - tile_end * num_heads);
  const int32_t num_sections =
      min_of(1 + static_cast<int32_t>(kv_bytes(params, shape.k_len) / kSectionBytes), num_heads);
  const int32_t section_heads = ceil_div(num_heads, num_sections);
  const int32_t first_head = in_sequence / (num_tiles * section_heads) * section_heads;
  const int32_t heads_here = min_of(section_heads, num_heads - first_head);
  const int32_t in_section = in_sequence - num_tiles * first_head;
  ShareBound bound = end_bound(index);
  bound.shape = shape;
  bound.row_begin = (num_tiles - 1 - in_section / heads_here) * tile_rows;
  bound.kv_head = first_head + in_section % heads_here;
  return bound;
}

}  // namespace pagoda

#endif  // PAGODA_PLAN_UNIT_QUEUE_H_
