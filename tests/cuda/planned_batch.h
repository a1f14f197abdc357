// Batches of given lengths, and the plan that an H200 makes of them, on the host.
#ifndef PAGODA_TESTS_CUDA_PLANNED_BATCH_H_
#define PAGODA_TESTS_CUDA_PLANNED_BATCH_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cuda/step_layout.h"
#include "cuda/work_summary.h"
#include "plan/kv_conversion.h"

namespace pagoda::testing {

constexpr int32_t kNumSms = 132;

struct SameSequences {
  int32_t count;
  int32_t q_len;
  int32_t k_len;
};

// In bf16, causal, 32 query heads on 8 KV heads, unless changed. Must stay where it is.
struct LengthBatch {
  std::vector<int32_t> cu_seqlens_q{0};
  std::vector<int32_t> seqused_k;
  AttentionParams params{};

  explicit LengthBatch(const std::vector<SameSequences>& sequences) {
    for (const SameSequences& same : sequences) {
      for (int32_t i = 0; i < same.count; ++i) {
        cu_seqlens_q.push_back(cu_seqlens_q.back() + same.q_len);
        seqused_k.push_back(same.k_len);
      }
      params.max_seqlen_q = std::max(params.max_seqlen_q, same.q_len);
      params.max_seqlen_k = std::max(params.max_seqlen_k, same.k_len);
    }
    params.cu_seqlens_q = cu_seqlens_q.data();
    params.seqused_k = seqused_k.data();
    params.num_tokens = cu_seqlens_q.back();
    params.num_seqs = static_cast<int32_t>(seqused_k.size());
    params.q.dtype = params.out.dtype = params.kv.dtype = DType::kBFloat16;
    params.mask.causal = true;
    params.mask.window_left = params.mask.window_right = params.mask.prefix_window_left = -1;
    params.fixed_split_keys = kDefaultFixedSplitKeys;
    set_heads(32, 8, 128);
  }
  LengthBatch(const LengthBatch&) = delete;
  LengthBatch& operator=(const LengthBatch&) = delete;

  void set_heads(int32_t num_q_heads, int32_t num_kv_heads, int32_t head_dim) {
    params.num_q_heads = num_q_heads;
    params.num_kv_heads = num_kv_heads;
    params.group = num_q_heads / num_kv_heads;
    params.head_dim = head_dim;
  }
};

// The kernels' tables have these numbers; no kernel need be compiled for a plan.
inline cuda::Works layout_of(const AttentionParams& params, bool with_prefill, void* workspace,
                             size_t* bytes) {
  cuda::AttentionKernel attention{};
  attention.tile_rows = 64;
  attention.ctas_per_sm = params.head_dim <= 128 ? 2 : 1;
  cuda::PrefillKernel prefill{};
  prefill.tile_rows = 128;
  cuda::Works works{};
  const int64_t converted_tiles = size_of(params.kv.dtype) == 1
                                      ? wanted_converted_tiles(params.num_tokens, params.num_seqs,
                                                               params.max_seqlen_k, params.group)
                                      : 0;
  *bytes = cuda::lay_out(cuda::sizes_of(params, params.max_seqlen_k, params.head_dim,
                                        static_cast<int32_t>(converted_tiles)),
                         attention, with_prefill ? &prefill : nullptr, kNumSms, workspace, &works);
  return works;
}

inline bool is_prefill(const cuda::Work& work) {
  return work.tile_rows == 128;
}

inline cuda::Works works_of(const AttentionParams& params, bool with_prefill) {
  size_t bytes = 0;
  return layout_of(params, with_prefill, nullptr, &bytes);
}

inline cuda::StepSummary summary_of(const LengthBatch& batch) {
  const bool with_prefill = batch.params.max_seqlen_q * batch.params.group > cuda::kFewRows;
  return cuda::summarise(works_of(batch.params, with_prefill), batch.params);
}

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_CUDA_PLANNED_BATCH_H_
