// A planned step on the device: where shares begin and end, and the memory that their pieces
// meet in. Lives in the workspace; the plan kernel fills it, attention kernels read it, both
// without the host.
#ifndef PAGODA_CUDA_KERNELS_WORK_H_
#define PAGODA_CUDA_KERNELS_WORK_H_

#include "plan/share.h"
#include "semantics/softmax.h"

namespace pagoda::cuda {

// f32 rows, unnormalised, of as many columns as the kernel has, and their softmax states.
struct Rows {
  float* out;
  SoftmaxState* state;
};

// A queue of whole units, if that is better than shares. Every worker has one of the first units;
// later ones go to whoever asks. The last CTA of an attention kernel puts the last two back to what
// they were, so that one plan serves many layers.
struct UnitQueue {
  int32_t num_units;    // 0: shares
  int32_t num_workers;  // CTAs that take some
  int32_t num_taken;    // num_workers at first
  int32_t num_finished_ctas;
};

// 16-bit copies of 8-bit K and V, made before a prefill kernel reads them: see
// plan/kv_conversion.h.
struct ConvertedKv {
  // [num_seqs + 1]: where each sequence's tiles begin. A sequence whose tiles end past `capacity`
  // is not converted.
  int32_t* tile_begin;
  uint16_t* k;  // [num_kv_heads, capacity * kConvertedTile, head_dim] of converted_dtype()
  uint16_t* v;
  float*
      k_scale;  // [num_kv_heads, capacity * kConvertedTile], where tokens have scales; V's are in v
  int32_t capacity;  // in tiles; 0: nothing is converted, and tile_begin undefined
};

struct Work {
  PlanConfig config;
  bool runs_beside;         // the kernel before it in the stream; it ends after that one
  int32_t tile_rows;        // packed rows of a row tile
  int32_t cells_per_share;  // see PartialPlaces
  UnitQueue* queue;
  // [num_workers + 1]; worker w's share lies between bounds w and w + 1, or its first unit of the
  // queue begins at bound w.
  ShareBound* bounds;
  Rows partials;        // see PartialPlaces
  Rows totals;          // [num_workers, tile_rows]: a row tile's earlier fixed splits
  int32_t* tile_begin;  // as in CostLine, of queues and of plans too large for shared memory
  int64_t* cost_begin;  // likewise, of the latter
  ConvertedKv converted;
};

// One for each attention kernel of the step: the attention kernel's, then the prefill kernel's; or
// one of them, which takes all sequences.
constexpr int32_t kMaxWorks = 2;
struct Works {
  Work of[kMaxWorks];
  int32_t count;

  // The prefill kernel's, if the step has one.
  PAGODA_HD const Work& last() const { return of[count - 1]; }
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_WORK_H_
