// What the plan of one attention kernel comes to: the device's sums made again on the host, by the
// same functions.
#ifndef PAGODA_CUDA_WORK_SUMMARY_H_
#define PAGODA_CUDA_WORK_SUMMARY_H_

#include "cuda/kernels/work.h"
#include "plan/needed_work.h"

namespace pagoda::cuda {

// Costs are in keys: those that a row tile sees, and what a piece costs besides.
struct WorkSummary {
  int32_t tile_rows = 0;  // at most, of a row tile
  int32_t num_seqs = 0;
  int64_t packed_rows = 0;
  int64_t num_tiles = 0;    // row tiles
  int64_t num_units = 0;    // (row tile, KV head)
  bool queued = false;      // whole units come from a queue; else workers have shares
  int32_t num_workers = 0;  // CTAs that the plan gives this kernel; it may start more
  int32_t num_busy = 0;     // of these CTAs those that get some work
  int64_t num_pieces = 0;
  int64_t num_cut_units = 0;
  int64_t num_partials = 0;  // pieces of cut units
  int32_t most_pieces = 1;   // of one unit
  int64_t total_cost = 0;
  int64_t longest_cost = 0;  // of the worker that has most to do
  NeededWork needed;
};

// 8-bit K and V that are converted before the kernel of many rows.
struct ConversionSummary {
  int32_t num_seqs = 0;
  int64_t packed_rows = 0;  // of these sequences
  int64_t num_keys = 0;     // in whole tiles
};

// `on_host`: lengths and the mask's tensors are in host memory.
struct StepSummary {
  // The attention kernel's, then the prefill kernel's; empty for one that the step has not.
  WorkSummary of[kMaxWorks];
  int32_t count = 0;  // of kernels
  // The kernels divide the cores and run at the same time; else the second in the stream fills the
  // cores that the first leaves.
  bool cores_divided = false;
  ConversionSummary converted;
};
StepSummary summarise(const Works& works, const AttentionParams& on_host);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_WORK_SUMMARY_H_
