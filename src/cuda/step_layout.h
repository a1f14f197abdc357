// How the workspace of one step is divided among its kernels, and how their plans are configured.
#ifndef PAGODA_CUDA_STEP_LAYOUT_H_
#define PAGODA_CUDA_STEP_LAYOUT_H_

#include "cuda/kernels/attention/launch.h"
#include "cuda/kernels/prefill/launch.h"
#include "cuda/kernels/work.h"

namespace pagoda::cuda {

// Packed rows up to which reading K and V takes longer than computing, in the attention kernel.
constexpr int32_t kFewRows = 64;

struct Sizes {
  SplitPolicy policy;
  int32_t fixed_split_keys;
  int64_t num_tokens;
  int64_t num_seqs;
  int64_t max_seqlen_k;
  int32_t group;
  int32_t kernel_head_dim;
  // What there is room to convert, and what it is.
  int32_t converted_tiles;
  int32_t num_kv_heads;
  int32_t head_dim;
  bool prefill_alone;  // the prefill kernel, if there is one, takes sequences of few rows as well
};

// Of a step's plan.
Sizes sizes_of(const AttentionParams& params, int32_t max_seqlen_k, int32_t kernel_head_dim,
               int32_t converted_tiles);

// Tiles of 8-bit K and V to make room for, of `wanted`, in so many bytes that a step can spare.
int32_t fitting_tiles(int64_t wanted, int32_t num_kv_heads, int32_t head_dim, size_t free_bytes);

// Lays out the works of one step from `base` on (null to measure only); returns the bytes.
// `prefill`: the kernel that takes sequences of many rows, or null if `attention` takes all.
size_t lay_out(const Sizes& sizes, const AttentionKernel& attention, const PrefillKernel* prefill,
               int32_t num_sms, void* base, Works* works);

// Whether a unit of sequences of up to `max_seqlen_k` keys may be cut, so that partial results have
// to be joined.
bool may_be_cut(const Works& works, int32_t max_seqlen_k);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_STEP_LAYOUT_H_
