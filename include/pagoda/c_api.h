// The C API: the whole of attention.h and kv_cache.h, in C99. Fields have the names, shapes, dtypes
// and meanings that those headers give them; nested C++ structs are laid flat.
//
//   PagodaProblem problem;
//   pagoda_problem_init(&problem);                     // defaults, and the struct's size
//   problem.q = pagoda_contiguous(q, PAGODA_BFLOAT16, 3, (int64_t[]){6, 8, 64}, device);
//   ...
//   if (pagoda_unified_attention(&problem, workspace, NULL) != PAGODA_OK)
//   puts(pagoda_last_error());
//
// Structs that start with struct_size grow at their end only, and a new field's default is what the
// library did before it: a program compiled against an older header runs with a newer library.
// Call the struct's _init function first. An optional tensor is absent when its data is NULL.
//
// Tensors that a call writes must not overlap each other or what it reads; attention.h and
// kv_cache.h say for each call which they are, and what may be the same.
//
// Functions that return a status return PAGODA_OK or a code of c_types.h, and then
// pagoda_last_error() says which argument, what it got and what it wants. Nothing is written by a
// call that finds its arguments invalid. No C++ exception leaves a function. Several threads may
// call at once.
#ifndef PAGODA_C_API_H_
#define PAGODA_C_API_H_

#include <stddef.h>
#include <stdint.h>

#include "pagoda/c_types.h"
#include "pagoda/export.h"

#ifdef __cplusplus
extern "C" {
#endif

// AttentionProblem of attention.h.
typedef struct PagodaProblem {
  size_t struct_size;

  PagodaTensor q;    // [num_tokens, num_q_heads, head_dim] bf16, f16, f32 (CPU) or e4m3
  PagodaTensor out;  // [num_tokens, num_q_heads, head_dim] q's dtype, bf16 or e4m3
  PagodaTensor lse;  // optional f32 [num_q_heads, num_tokens], or by lse_layout
  int32_t lse_layout;

  PagodaTensor k_pages;  // [num_pages, page_size, num_kv_heads, head_dim] q's dtype, fp8 or int8
  PagodaTensor v_pages;
  PagodaTensor block_table;   // int32 [num_seqs, max_pages]; or these two:
  PagodaTensor page_indptr;   // int32 [num_seqs + 1]
  PagodaTensor page_indices;  // int32 [num_page_entries]
  PagodaTensor k_scale;       // f32, one element, [num_kv_heads] or [num_seqs, num_kv_heads]
  PagodaTensor v_scale;
  PagodaTensor k_token_scale;  // f32 [num_pages, page_size, num_kv_heads]
  PagodaTensor v_token_scale;

  PagodaTensor cu_seqlens_q;  // int32 [num_seqs + 1]
  PagodaTensor seqused_k;     // int32 [num_seqs]
  int32_t max_seqlen_q;       // 0 = num_tokens
  int32_t max_seqlen_k;       // 0 = what the block table can hold

  float softmax_scale;        // 0 = 1 / sqrt(head_dim)
  float logits_soft_cap;      // 0 = off
  PagodaTensor q_scale;       // e4m3 q only; f32, shapes as k_scale
  PagodaTensor out_scale;     // e4m3 out only; f32, one element
  PagodaTensor alibi_slopes;  // f32 [num_q_heads]
  int32_t alibi_sqrt;         // 0 or 1
  PagodaTensor bias;          // f32 [rows, columns] or [num_seqs, rows, columns]
  PagodaTensor sinks;         // f32, bf16 or f16 [num_q_heads]

  int32_t causal;               // 0 or 1; default 1
  PagodaTensor causal_per_seq;  // uint8 [num_seqs]
  int32_t window_left;          // default -1 = unlimited
  int32_t window_right;         // default -1 = unlimited
  int32_t chunk_size;
  int32_t chunk_lookback;
  PagodaTensor prefix_lens;           // int32 [num_seqs]
  int32_t prefix_window_left;         // default -1
  PagodaTensor tree_words;            // int64 [num_tokens]
  PagodaTensor bidirectional_ranges;  // int32 [num_seqs, max_ranges, 2]
  int32_t clamp_ranges_to_window_left;

  int32_t split_policy;
  int32_t fixed_split_keys;  // a multiple of 64; 0 = 1024
  int32_t checked;           // CPU: 1 = verify lengths, page ids and scales first
} PagodaProblem;

// Upper bounds that size a workspace.
typedef struct PagodaLimits {
  size_t struct_size;
  PagodaDevice device;
  int64_t max_num_tokens;
  int32_t max_num_seqs;
  int32_t max_seqlen_k;
  int32_t num_q_heads;
  int32_t num_kv_heads;
  int32_t head_dim;
  int32_t split_policy;
  int32_t fixed_split_keys;
  int32_t num_workers;  // CPU: of the thread pool; 0 = the library's own pool
  int32_t kv_dtype;     // of K and V: see pagoda::AttentionLimits; pagoda_limits_init(): bf16
} PagodaLimits;

// A planned step, made by pagoda_plan(). Copyable; valid as long as the workspace is and its
// contents are left alone. Calls that run at once need a plan and a workspace each.
typedef struct PagodaPlan {
  uint64_t storage[32];
} PagodaPlan;

// What a planned batch will do. The texts belong to the calling thread and stay until its next
// pagoda_explain().
typedef struct PagodaExplanation {
  size_t struct_size;
  const char* backend;
  const char* kernel;
  const char* text;    // lines of "key: value"
  int64_t num_items;   // work items
  int64_t num_splits;  // items that write partial results
  int64_t kv_bytes;    // bytes of K and V that some query sees, by sequence
  int64_t flops;
  int64_t num_workers;  // CPU: of the pool that the plan was made for; CUDA: CTAs that get work
  double roof_seconds;  // CUDA: on an H200; 0 on the CPU
  double predicted_seconds;
} PagodaExplanation;

// MakeKvCache of kv_cache.h.
typedef struct PagodaMakeKvCache {
  size_t struct_size;
  int64_t num_pages;
  int32_t page_size;  // tokens; default 64
  int32_t num_kv_heads;
  int32_t head_dim;
  PagodaDType dtype;     // f32, f16, bf16, fp8 or int8; default bf16
  int32_t layout;        // default PAGODA_HND
  int32_t token_scales;  // 0 or 1; int8 pages always have scales per token and head
} PagodaMakeKvCache;

// A KV cache in host memory, made by pagoda_make_kv_cache(). Its layout never changes.
typedef struct PagodaKvCache {
  PagodaTensor k_pages;
  PagodaTensor v_pages;
  PagodaTensor k_token_scale;  // absent unless asked for, or int8
  PagodaTensor v_token_scale;
  void* memory;  // what the tensors point into
  size_t bytes;
} PagodaKvCache;

// WriteKvCache and Rope of kv_cache.h.
typedef struct PagodaWriteKvCache {
  size_t struct_size;
  PagodaTensor k;  // [num_tokens, num_kv_heads, head_dim] f32, f16 or bf16
  PagodaTensor v;
  PagodaTensor k_pages;  // [num_pages, page_size, num_kv_heads, head_dim] k's dtype, fp8 or int8
  PagodaTensor v_pages;
  PagodaTensor slot_mapping;  // int64 [num_tokens]; negative = skip
  PagodaTensor k_scale;       // fp8 pages: f32, one element or [num_kv_heads]
  PagodaTensor v_scale;
  PagodaTensor k_token_scale;  // written: f32 [num_pages, page_size, num_kv_heads]
  PagodaTensor v_token_scale;
  // [max_position, rotary_dim] f32, f16 or bf16. Absent = no rotation; then the other fields of
  // rope must be absent and 0 too.
  PagodaTensor rope_cos_sin;
  PagodaTensor rope_positions;  // int64 [num_tokens]
  PagodaTensor rope_q;          // optional [num_tokens, num_q_heads, head_dim], rotated in place
  int32_t rope_interleaved;     // 0 = neox pairs (i, i + rotary_dim / 2), 1 = pairs (2i, 2i + 1)
  int32_t checked;
} PagodaWriteKvCache;

// One partial result. Its layout never changes.
typedef struct PagodaState {
  PagodaTensor out;  // [num_tokens, num_q_heads, head_dim] f32, f16 or bf16
  PagodaTensor lse;  // f32, by lse_layout
} PagodaState;

// GatherKvCache of kv_cache.h.
typedef struct PagodaGatherKvCache {
  size_t struct_size;
  PagodaTensor k_pages;  // pages, table and scales as in PagodaProblem
  PagodaTensor v_pages;
  PagodaTensor block_table;
  PagodaTensor page_indptr;
  PagodaTensor page_indices;
  PagodaTensor k_scale;
  PagodaTensor v_scale;
  PagodaTensor k_token_scale;
  PagodaTensor v_token_scale;
  PagodaTensor cu_seqlens_k;  // int32 [num_seqs + 1]
  PagodaTensor seq_starts;    // optional int32 [num_seqs]
  PagodaTensor k_out;  // [num_rows, num_kv_heads, head_dim] the pages' dtype, f32, f16 or bf16
  PagodaTensor v_out;
  int32_t checked;
} PagodaGatherKvCache;

// CopyPages of kv_cache.h: no page is written by two pairs, nor in one tensor both read and
// written.
typedef struct PagodaCopyPages {
  size_t struct_size;
  PagodaTensor source;       // [num_pages, page_size, num_kv_heads, head_dim]
  PagodaTensor destination;  // the same but for its number of pages
  PagodaTensor page_pairs;   // int64 [num_pairs, 2]; in host memory for pagoda_swap_pages()
  int32_t checked;
} PagodaCopyPages;

PAGODA_API const char* pagoda_version(void);                   // "major.minor.patch"
PAGODA_API const char* pagoda_status_name(PagodaStatus code);  // "invalid argument", ...

// What the calling thread's last call that returned a status had to say; "" if it was PAGODA_OK.
// Never NULL; valid until the thread's next such call.
PAGODA_API const char* pagoda_last_error(void);

// Set struct_size and every field to its default; do nothing with NULL.
PAGODA_API void pagoda_execution_init(PagodaExecution* execution);
PAGODA_API void pagoda_problem_init(PagodaProblem* problem);
PAGODA_API void pagoda_limits_init(PagodaLimits* limits);
PAGODA_API void pagoda_explanation_init(PagodaExplanation* explanation);
PAGODA_API void pagoda_make_kv_cache_init(PagodaMakeKvCache* args);
PAGODA_API void pagoda_write_kv_cache_init(PagodaWriteKvCache* args);
PAGODA_API void pagoda_gather_kv_cache_init(PagodaGatherKvCache* args);
PAGODA_API void pagoda_copy_pages_init(PagodaCopyPages* args);

// A dense row-major tensor. `shape` has `rank` extents; const data is taken for tensors that are
// only read. A rank outside [0, PAGODA_MAX_RANK] is kept for the call that takes it to refuse; a
// NULL `shape` of extents gives rank -1.
PAGODA_API PagodaTensor pagoda_contiguous(const void* data, PagodaDType dtype, int32_t rank,
                                          const int64_t* shape, PagodaDevice device);

// The limits that exactly fit `problem`; `limits` needs no initialisation but struct_size. An
// extent that its field cannot hold becomes the largest that it can.
PAGODA_API PagodaStatus pagoda_limits_of(const PagodaProblem* problem,
                                         const PagodaExecution* execution, PagodaLimits* limits);
PAGODA_API PagodaStatus pagoda_workspace_size(const PagodaLimits* limits, size_t* bytes);
// The plan is bound to the shapes, mask and policy of `problem`, and to the addresses of its
// cu_seqlens_q and seqused_k; when their contents change, plan again.
PAGODA_API PagodaStatus pagoda_plan(const PagodaProblem* problem, PagodaWorkspace workspace,
                                    const PagodaExecution* execution, PagodaPlan* plan);
PAGODA_API PagodaStatus pagoda_attention(const PagodaProblem* problem, const PagodaPlan* plan,
                                         const PagodaExecution* execution);
// pagoda_plan() and pagoda_attention().
PAGODA_API PagodaStatus pagoda_unified_attention(const PagodaProblem* problem,
                                                 PagodaWorkspace workspace,
                                                 const PagodaExecution* execution);
// PAGODA_OK if this build and device compute problems such as this one, as pagoda_plan() checks it;
// else the last error has the reasons.
PAGODA_API PagodaStatus pagoda_supported(const PagodaProblem* problem);
// On CUDA it waits for the stream that pagoda_plan() was given, which must still exist, and fails
// while that is being captured.
PAGODA_API PagodaStatus pagoda_explain(const PagodaProblem* problem, const PagodaPlan* plan,
                                       PagodaExplanation* explanation);

// Fills `cache`, whose memory is zeroed, begins on a 2 MB boundary and is advised for huge pages.
PAGODA_API PagodaStatus pagoda_make_kv_cache(const PagodaMakeKvCache* args, PagodaKvCache* cache);
// Gives the memory back and clears `cache`; does nothing with one that is clear, or with NULL.
PAGODA_API void pagoda_free_kv_cache(PagodaKvCache* cache);
PAGODA_API PagodaStatus pagoda_write_kv_cache(const PagodaWriteKvCache* args,
                                              const PagodaExecution* execution);
PAGODA_API PagodaStatus pagoda_merge_states(const PagodaState* states, int32_t num_states,
                                            const PagodaState* merged, int32_t lse_layout,
                                            const PagodaExecution* execution);
PAGODA_API PagodaStatus pagoda_gather_kv_cache(const PagodaGatherKvCache* args,
                                               const PagodaExecution* execution);
PAGODA_API PagodaStatus pagoda_copy_pages(const PagodaCopyPages* args,
                                          const PagodaExecution* execution);
PAGODA_API PagodaStatus pagoda_swap_pages(const PagodaCopyPages* args,
                                          const PagodaExecution* execution);

#ifdef __cplusplus
}  // extern "C"
#endif

#endif  // PAGODA_C_API_H_
