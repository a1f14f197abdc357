// Where the 16 rows of one warp stand among the keys.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_WARP_ROWS_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_WARP_ROWS_CUH_

#include "cuda/sm90/device.cuh"
#include "plan/item_rows.h"
#include "semantics/score.h"

namespace pagoda::cuda {

// What masks and scores need to know of a lane's two rows.
struct LaneRows {
  int32_t q_pos[2];
  float slope[2];
};

// The rule as far as the kernel knows it: what it does not, the compiler leaves out.
template <bool kPlain>
PAGODA_DEVICE MaskRule kernel_rule(const MaskRule& rule) {
  MaskRule known = rule;
  if constexpr (kPlain) {
    known.num_ranges = 0;
    known.tree_words = nullptr;
    known.prefix_len = 0;
    known.prefix_window_left = -1;
  }
  return known;
}

// One warp's place in an item.
template <bool kPlain>
struct WarpRows {
  LaneRows lane;
  KvRange any;       // keys that some row of the warp sees
  KvRange unmasked;  // keys that every row sees, and that no bias hides
  bool active;       // the warp has rows

  PAGODA_DEVICE WarpRows(const AttentionParams& params, const ItemRows& rows, int32_t kv_head,
                         int first_row) {
    active = first_row < rows.num_rows;
    const int32_t last_row = rows.num_rows - 1;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      // Rows past the last repeat it; nothing is written for them.
      const int32_t row =
          min_of(first_row + static_cast<int32_t>(threadIdx.x % 32) / 4 + 8 * i, last_row);
      lane.q_pos[i] = rows.q_pos(row);
      if constexpr (!kPlain) lane.slope[i] = Alibi::slope(params.score, rows.q_head(kv_head, row));
    }
    const int32_t q_first = rows.q_pos(min_of(first_row, last_row));
    const int32_t q_last = rows.q_pos(min_of(first_row + 15, last_row));
    const MaskRule rule = kernel_rule<kPlain>(rows.rule);
    any = any_visible(rule, q_first, q_last);
    unmasked = all_visible(rule, q_first, q_last);
    if constexpr (!kPlain) unmasked = without_bias(params.score, rule, unmasked);
  }
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_WARP_ROWS_CUH_
