// A planned step on the device: the work list and the memory that its items share. Lives in the
// workspace; the plan kernel fills it, attention kernels read it, both without the host.
#ifndef PAGODA_CUDA_KERNELS_WORK_H_
#define PAGODA_CUDA_KERNELS_WORK_H_

#include "plan/planner.h"
#include "plan/work_item.h"
#include "semantics/softmax.h"

namespace pagoda::cuda {

// Counters of one step. The last CTA of an attention kernel puts the last two back to 0, so that
// one plan serves many layers.
struct PlanHeader {
  int32_t num_items;
  int32_t num_groups;
  int32_t num_partial_rows;
  int32_t next_item;
  int32_t finished_ctas;
};

// f32 rows of head_dim, unnormalised, and their softmax states.
struct Rows {
  float* out;
  SoftmaxState* state;
};

struct Work {
  PlanHeader* header;
  WorkItem* items;
  MergeGroup* groups;
  int32_t* arrivals;    // [num_groups], 0 between kernels
  Rows partials;        // [num_partial_rows]
  Rows totals;          // [num_ctas, kMaxItemRows]: what an item has of its earlier fixed splits
  int32_t* tile_begin;  // [num_seqs + 1]: row tiles before each sequence
};

// Packed rows of an item.
constexpr int32_t kFewRows = 16;
constexpr int32_t kMaxItemRows = 64;

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_WORK_H_
