// The checked problem as plain data: what the planner, every backend and every kernel receive.
// Only validate.cc makes one, so nothing below it checks arguments again.
#ifndef PAGODA_CORE_ATTENTION_PARAMS_H_
#define PAGODA_CORE_ATTENTION_PARAMS_H_

#include "core/portability.h"
#include "pagoda/attention.h"
#include "pagoda/types.h"

namespace pagoda {

// What AttentionProblem::fixed_split_keys = 0 stands for.
constexpr int32_t kDefaultFixedSplitKeys = 1024;

constexpr int32_t kMaxHeadDim = 256;

// Rows of [num_tokens, num_heads, head_dim]; the last stride is 1.
struct RowsParams {
  void* data;
  DType dtype;
  int64_t token_stride;
  int64_t head_stride;
};

// [num_pages, page_size, num_kv_heads, head_dim]; the last stride is 1.
struct PagesParams {
  void* data;
  int64_t page_stride;
  int64_t token_stride;
  int64_t head_stride;
};

// f32 scale by (sequence, kv head): absent = 1; a stride of 0 repeats.
struct ScaleParams {
  const float* data;
  int64_t seq_stride;
  int64_t head_stride;
};

// f32 scale by (page, token, kv head); absent = 1.
struct TokenScaleParams {
  float* data;
  int64_t page_stride;
  int64_t token_stride;
  int64_t head_stride;
};

// Page ids of a sequence: either a dense table or CSR.
struct BlockTableParams {
  const int32_t* table;  // [num_seqs, max_pages] or null
  int64_t row_stride;
  const int32_t* indptr;   // [num_seqs + 1] or null
  const int32_t* indices;  // [num_page_entries]
  int32_t max_pages;       // columns of the table, or entries of `indices`
};

struct PagedKvParams {
  PagesParams k;
  PagesParams v;
  DType dtype;
  int32_t num_pages;
  int32_t page_size;
  BlockTableParams block_table;
  ScaleParams k_scale;
  ScaleParams v_scale;
  TokenScaleParams k_token_scale;
  TokenScaleParams v_token_scale;
};

struct MaskParams {
  bool causal;
  bool clamp_ranges_to_window_left;
  int32_t window_left;   // -1 = unlimited
  int32_t window_right;  // -1 = unlimited
  int32_t chunk_size;    // 0 = off
  int32_t chunk_lookback;
  int32_t prefix_window_left;
  int32_t max_ranges;
  const uint8_t* causal_per_seq;  // [num_seqs] or null
  int64_t causal_per_seq_stride;
  const int32_t* prefix_lens;  // [num_seqs] or null
  int64_t prefix_lens_stride;
  const int64_t* tree_words;  // [num_tokens] or null
  int64_t tree_words_stride;
  const int32_t* bidirectional_ranges;  // [num_seqs, max_ranges, 2] or null
};

struct ScoreParams {
  float softmax_scale;
  float logits_soft_cap;  // 0 = off
  bool alibi_sqrt;
  const float* alibi_slopes;  // [num_q_heads] or null
  int64_t alibi_slopes_stride;
  const float* bias;        // [rows, columns] or [num_seqs, rows, columns] or null
  int64_t bias_seq_stride;  // 0 = one matrix for all sequences
  int64_t bias_row_stride;
  int64_t bias_column_stride;
  int32_t bias_rows;
  int32_t bias_columns;
  const void* sinks;  // [num_q_heads] or null
  DType sinks_dtype;
  int64_t sinks_stride;
};

struct AttentionParams {
  RowsParams q;
  RowsParams out;
  float* lse;  // null = not wanted
  int64_t lse_token_stride;
  int64_t lse_head_stride;
  PagedKvParams kv;
  const int32_t* cu_seqlens_q;  // [num_seqs + 1]
  const int32_t* seqused_k;     // [num_seqs]
  ScaleParams q_scale;
  const float* out_scale;  // one element or null
  ScoreParams score;
  MaskParams mask;

  Device device;
  SplitPolicy split_policy;
  int32_t fixed_split_keys;  // resolved: a multiple of 64
  int32_t num_tokens;
  int32_t num_seqs;
  int32_t max_seqlen_q;
  int32_t max_seqlen_k;
  int32_t num_q_heads;
  int32_t num_kv_heads;
  int32_t group;  // num_q_heads / num_kv_heads
  int32_t head_dim;
  bool checked;
};

PAGODA_HD float scale_of(const ScaleParams& scale, int32_t seq, int32_t kv_head) {
  if (scale.data == nullptr) return 1.0f;
  return scale.data[seq * scale.seq_stride + kv_head * scale.head_stride];
}

}  // namespace pagoda

#endif  // PAGODA_CORE_ATTENTION_PARAMS_H_
