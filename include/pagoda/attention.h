// Attention over a paged KV cache for a whole serving step in one call: prefill, chunked prefill,
// decode and speculative verification, mixed in one ragged batch.
//
//   size_t bytes;
//   workspace_size(limits, &bytes);                   // once: a pure function of upper bounds
//   plan(problem, workspace, execution, &plan);       // once per step
//   attention(problem, plan, execution);              // once per layer of equal geometry
//
// What is computed, to the last edge case, is in docs/semantics.md.
#ifndef PAGODA_ATTENTION_H_
#define PAGODA_ATTENTION_H_

#include <cstdint>
#include <string>

#include "pagoda/export.h"
#include "pagoda/status.h"
#include "pagoda/types.h"

namespace pagoda {

// K and V in pages, found through a block table. Strides of K and V are independent and free
// except the last, which is 1; so NHD, HND, K and V interleaved in one buffer, padded pages and
// one page per sequence are all plain strides. Rows are 16-byte aligned on CUDA.
struct PagedKvCache {
  TensorView k_pages;  // [num_pages, page_size, num_kv_heads, head_dim] q's dtype, fp8 or int8
  TensorView v_pages;  // same shape and dtype

  // Either a dense table, row stride free: entry j of row s is the page that holds the tokens
  // from j * page_size on of sequence s. Entries past the sequence's length are never read.
  TensorView block_table;  // int32 [num_seqs, max_pages]
  // Or CSR: the pages of sequence s are page_indices[page_indptr[s] .. page_indptr[s + 1]).
  TensorView page_indptr;   // int32 [num_seqs + 1]
  TensorView page_indices;  // int32 [num_page_entries]

  // value = stored * scale. Absent = 1. f32; one element, [num_kv_heads] or
  // [num_seqs, num_kv_heads]; strides free.
  TensorView k_scale;
  TensorView v_scale;
  // One f32 scale per stored token and head: [num_pages, page_size, num_kv_heads], strides free.
  // Required for int8, optional for fp8; excludes k_scale / v_scale.
  TensorView k_token_scale;
  TensorView v_token_scale;
};

// Which keys a query sees. With p the query's and t the key's absolute position,
//   base = causal, window, chunk, prefix-window and tree rules, all of them
//   visible = base or (p and t lie in one bidirectional range)
struct AttentionMask {
  bool causal = true;         // t <= p
  TensorView causal_per_seq;  // uint8 [num_seqs], overrides `causal`: 0 = every key, else causal
  int32_t window_left = -1;   // p - t <= window_left:  w keeps w + 1 keys; -1 = unlimited
  int32_t window_right = -1;  // t - p <= window_right; -1 = unlimited

  int32_t chunk_size = 0;      // > 0: p / chunk_size - t / chunk_size <= chunk_lookback
  int32_t chunk_lookback = 0;  // >= 0

  TensorView prefix_lens;           // int32 [num_seqs]: t < prefix_len or
  int32_t prefix_window_left = -1;  //   p - t <= prefix_window_left (>= 0 with prefix_lens)

  // One word per query token: bit j = "draft token j of this step is an ancestor". Among the
  // first 64 tokens of its step a token sees itself and its ancestors only; keys before the step
  // and step tokens from the 65th on are not restricted. All ones (-1) = no restriction.
  TensorView tree_words;  // int64 [num_tokens]

  // Inclusive ranges [first, last] of absolute positions; first > last is padding.
  TensorView bidirectional_ranges;           // int32 [num_seqs, max_ranges, 2], contiguous
  bool clamp_ranges_to_window_left = false;  // p - t <= window_left holds inside ranges too
};

// How KV is split over workers.
enum class SplitPolicy : int32_t {
  kBalanced = 0,  // splits wherever that balances the batch
  kFixed = 1,     // splits on an absolute grid of `fixed_split_keys` keys: batch-invariant bits
};

enum class LseLayout : int32_t { kHeadsTokens = 0, kTokensHeads = 1 };

// out and lse are written, so they must not overlap each other or what is read. Where one of them
// has the data pointer of another tensor, attention() says so; other overlaps it cannot tell from
// views that interleave.
struct AttentionProblem {
  TensorView q;    // [num_tokens, num_q_heads, head_dim] bf16, f16, f32 (CPU) or e4m3
  TensorView out;  // [num_tokens, num_q_heads, head_dim] q's dtype; bf16 or e4m3 where asked
  TensorView lse;  // optional f32, natural log, sinks included; shape by lse_layout, strides free
  LseLayout lse_layout = LseLayout::kHeadsTokens;
  PagedKvCache kv;
  TensorView cu_seqlens_q;   // int32 [num_seqs + 1] exclusive prefix sum of query lengths
  TensorView seqused_k;      // int32 [num_seqs] KV length including this step's tokens
  int32_t max_seqlen_q = 0;  // upper bound of query lengths; 0 = num_tokens
  int32_t max_seqlen_k = 0;  // upper bound of KV lengths; 0 = what the block table can hold

  float softmax_scale = 0.0f;    // 0 = 1 / sqrt(head_dim)
  float logits_soft_cap = 0.0f;  // x = c * tanh(x / c); 0 = off
  TensorView q_scale;            // e4m3 q only: f32, shapes as k_scale
  TensorView out_scale;          // e4m3 out only: f32, one element; out = value / out_scale
  TensorView alibi_slopes;       // f32 [num_q_heads]: x += slope * (t - p)
  bool alibi_sqrt = false;       // x += -slope * sqrt(p - t) for t <= p, 0 otherwise
  // x += bias[.., i, t - (k_len - q_len)] for the step's own keys; rows and columns that the
  // matrix does not have add nothing; -inf masks the key.
  TensorView bias;   // f32 [rows, columns] for all sequences or [num_seqs, rows, columns]
  TensorView sinks;  // f32, bf16 or f16 [num_q_heads]: one more logit of the denominator
  AttentionMask mask;

  SplitPolicy split_policy = SplitPolicy::kBalanced;
  int32_t fixed_split_keys = 0;  // kFixed: keys per split, a multiple of 64; 0 = 1024

  // CPU: verify lengths, page ids and scales before anything is computed; the first violation
  // is named as (sequence, column, value) and nothing is written.
  bool checked = false;
};

// Upper bounds that size a workspace. A workspace serves every problem within them.
struct AttentionLimits {
  Device device = {};
  int64_t max_num_tokens = 0;
  int32_t max_num_seqs = 0;
  int32_t max_seqlen_k = 0;
  int32_t num_q_heads = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  SplitPolicy split_policy = SplitPolicy::kBalanced;
  int32_t fixed_split_keys = 0;
  int32_t num_workers = 0;  // CPU: workers of the thread pool; 0 = the library's own pool
  // Of K and V. CUDA: with 8 bits there is room for 16-bit copies of what long prompts read, up to
  // 512 MiB. A plan takes any workspace of the size for 16 bits, and uses what else there is.
  DType kv_dtype = DType::kBFloat16;
};

// A planned step: where in the workspace its work list lies. Copyable; valid as long as the
// workspace is and its contents are left alone. Calls compute in that workspace, one at a time:
// those that run at once need a plan and a workspace each (on CUDA: those on different streams).
struct Plan {
  alignas(8) unsigned char storage[256] = {};
};

// What a planned batch will do; `text` says it in lines of "key: value".
struct Explanation {
  std::string backend;  // "cpu" or "cuda"
  std::string kernel;   // instruction set and routes taken
  // Work items; on CUDA row tiles, once for each KV head, and parts of those that are cut.
  int64_t num_items = 0;
  int64_t num_splits = 0;  // items that write partial results
  // Bytes of K and V that some query sees; pages that sequences share count for each of them.
  int64_t kv_bytes = 0;
  int64_t flops = 0;  // 4 * head_dim * num_q_heads * visible pairs, summed
  // CPU: workers of the pool that the plan was made for; attention() takes no more. CUDA: CTAs that
  // get some work.
  int64_t num_workers = 0;
  std::string text;
  // Of attention() with this plan, in a graph. CUDA: on an H200, whatever the device is; 0 on the
  // CPU, whose roof `pagoda bench` measures.
  double roof_seconds = 0.0;       // least time: bytes / bandwidth or flops / rate, and the launch
  double predicted_seconds = 0.0;  // by a model of the kernels: docs/performance_gpu.md
};

// The limits that exactly fit `problem`; an extent that its field cannot hold becomes the largest
// that it can.
PAGODA_API AttentionLimits limits_of(const AttentionProblem& problem,
                                     const Execution& execution = {});

// Bytes of workspace for any problem within `limits`. Reads nothing else.
PAGODA_API Status workspace_size(const AttentionLimits& limits, size_t* bytes);

// Turns this step's lengths into work items in `workspace`. Reads the shapes, lengths, mask and
// policy of `problem`, never q, K, V or out; one plan serves all layers that share these.
//
// A plan is bound to what it read. attention() refuses a problem with other num_tokens, num_seqs,
// heads, head_dim, numbers or tensors of the mask or policy, and one whose cu_seqlens_q or
// seqused_k lie elsewhere, even with the same lengths. That their contents and those of the mask's
// tensors are still the ones that were planned is the caller's promise: where they changed, plan
// again.
PAGODA_API Status plan(const AttentionProblem& problem, const Workspace& workspace,
                       const Execution& execution, Plan* plan);

// Computes `problem` by `plan`.
PAGODA_API Status attention(const AttentionProblem& problem, const Plan& plan,
                            const Execution& execution = {});

// plan + attention.
PAGODA_API Status unified_attention(const AttentionProblem& problem, const Workspace& workspace,
                                    const Execution& execution = {});

// Ok if this build and device compute problems such as this one; else why not: sizes that do not
// fit, alone, or everything else that is wrong, a line each. Asks what plan() asks, so data may be
// null and scales may be missing.
PAGODA_API Status supported(const AttentionProblem& problem);

// What `plan` will do for `problem`. On the CPU it reads the plan's work list. On CUDA it makes the
// plan's sums again: it copies lengths and the mask's tensors to the host in the stream that plan()
// was given, which must still exist, and waits for it. While that is being captured it is an error.
PAGODA_API Status explain(const AttentionProblem& problem, const Plan& plan,
                          Explanation* explanation);

}  // namespace pagoda

#endif  // PAGODA_ATTENTION_H_
