// What the planner makes and the kernels take.
#ifndef PAGODA_PLAN_WORK_ITEM_H_
#define PAGODA_PLAN_WORK_ITEM_H_

#include <cstdint>

#include "plan/tile_shape.h"

namespace pagoda {

// Some packed rows of one sequence, for some KV heads, over some keys. Packed row r of a KV head
// is query token r / group of the sequence and query head kv_head * group + r % group.
struct WorkItem {
  Route route;
  int32_t seq;
  int32_t kv_head;
  int32_t num_kv_heads;
  int32_t row_begin;
  int32_t num_rows;
  int32_t kv_begin;
  int32_t kv_end;
  // -1: the item sees all keys of its rows and writes their output. Otherwise its merge group,
  // and the first of its rows of partial results.
  int32_t merge_group;
  int32_t partial_row;
  int64_t cost;
};

// Partial results of the same rows: num_partials blocks of num_kv_heads * num_rows rows, in key
// order from partial_row on, written by num_items items.
struct MergeGroup {
  int32_t seq;
  int32_t kv_head;
  int32_t num_kv_heads;
  int32_t row_begin;
  int32_t num_rows;
  int32_t partial_row;
  int32_t num_partials;
  int32_t num_items;
};

}  // namespace pagoda

#endif  // PAGODA_PLAN_WORK_ITEM_H_
