// What a serving engine does around attention: make pages in host memory, write new K and V into
// pages, merge partial results, gather pages into rows, copy pages.
#ifndef PAGODA_KV_CACHE_H_
#define PAGODA_KV_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "pagoda/attention.h"
#include "pagoda/export.h"
#include "pagoda/status.h"
#include "pagoda/types.h"

namespace pagoda {

// How a page lies in memory. The API's shapes are the same for both; strides tell them apart.
enum class KvLayout : int32_t {
  kHnd = 0,  // head-major: a head's tokens one after the other
  kNhd = 1,  // token-major: a token's heads one after the other
};

// Pages in host memory. The defaults are what CPUs read fastest (docs/performance_cpu_micro.md).
struct MakeKvCache {
  int64_t num_pages = 0;
  int32_t page_size = 64;  // tokens
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  DType dtype = DType::kBFloat16;  // f32, f16, bf16, fp8 or int8
  KvLayout layout = KvLayout::kHnd;
  // f32 scales per token and head beside the pages: on request for fp8; int8 pages always have
  // them.
  bool token_scales = false;
};

struct UnmapMemory {
  size_t bytes = 0;
  PAGODA_API void operator()(void* data) const;
};

// A KV cache that owns its memory.
struct HostKvCache {
  PagedKvCache views;  // k_pages, v_pages and token scales if there are any; the rest is absent
  std::unique_ptr<void, UnmapMemory> memory;  // what the views point into; get_deleter().bytes
};

// Zeroed memory, which begins on a 2 MB boundary and is advised for huge pages: all pages of K, all
// of V, then scales, each without gaps inside. Between K and V lies a gap of addresses that no
// memory is taken for. The system takes a page of memory from the NUMA node of the thread that
// touches it first.
PAGODA_API Status make_kv_cache(const MakeKvCache& args, HostKvCache* cache);

// Rotary position embedding, applied to q in place and to k while it is written. With (a, b) one
// pair of the first rotary_dim channels and c, s its cosine and sine at the token's position:
// a' = a c - b s, b' = b c + a s, in f32, rounded once.
struct Rope {
  // [max_position, rotary_dim]: the first half of a row holds cosines, the second half sines.
  // f32, f16 or bf16. Absent = no rotation, and then the fields below must be too.
  TensorView cos_sin;
  TensorView positions;      // int64 [num_tokens]
  bool interleaved = false;  // pairs (2i, 2i + 1); otherwise neox: (i, i + rotary_dim / 2)
  // Optional [num_tokens, num_q_heads, head_dim], rotated in place, skipped tokens too.
  TensorView q;
};

// k_pages, v_pages, token scales and rope.q are written: none may overlap another of the tensors. K
// and V interleaved in one buffer do not overlap.
struct WriteKvCache {
  TensorView k;        // [num_tokens, num_kv_heads, head_dim] f32, f16 or bf16; strides free
  TensorView v;        // same; last stride 1
  TensorView k_pages;  // [num_pages, page_size, num_kv_heads, head_dim] k's dtype, fp8 or int8
  TensorView v_pages;
  // int64 [num_tokens]: token j goes to page slot / page_size, offset slot % page_size;
  // negative = skip. Two tokens with one slot: either may win.
  TensorView slot_mapping;
  // fp8 pages: stored = saturate(round(value / scale)). f32, one element or [num_kv_heads];
  // absent = 1.
  TensorView k_scale;
  TensorView v_scale;
  // int8 or fp8 per token and head: scale = max(absmax / 127 (448, 57344), 1e-6) is computed and
  // stored here. f32 [num_pages, page_size, num_kv_heads], strides free.
  TensorView k_token_scale;
  TensorView v_token_scale;
  Rope rope;
  bool checked = false;  // CPU: slots and positions verified before anything is written
};

// Rounds to nearest even and saturates; never stores Inf. Unwritten slots keep what they hold.
PAGODA_API Status write_kv_cache(const WriteKvCache& args, const Execution& execution = {});

// One partial attention result over some of the keys.
struct AttentionState {
  TensorView out;  // [num_tokens, num_q_heads, head_dim] f32, f16 or bf16
  TensorView lse;  // f32, natural log, by lse_layout
};

// Softmax-weighted merge of `num_states` partial results into `merged` (whose lse is optional).
// An lse of +inf or NaN counts as -inf; all -inf gives 0 and -inf. What a state with weight 0 holds
// does not matter. On CUDA there may be up to 500 states. `merged` may be one of the states, out
// and lse; otherwise it must not overlap them, nor merged.out merged.lse.
PAGODA_API Status merge_states(const AttentionState* states, int32_t num_states,
                               const AttentionState& merged,
                               LseLayout lse_layout = LseLayout::kHeadsTokens,
                               const Execution& execution = {});

// k_out and v_out must overlap neither each other nor the pages.
struct GatherKvCache {
  PagedKvCache kv;          // block table or CSR; scales are used where k_out is not kv's dtype
  TensorView cu_seqlens_k;  // int32 [num_seqs + 1]: rows of sequence s in k_out and v_out
  TensorView seq_starts;    // optional int32 [num_seqs]: first token to gather; absent = 0
  TensorView k_out;         // [num_rows, num_kv_heads, head_dim] the pages' dtype or, to
  TensorView v_out;         //   dequantise, f32, f16 or bf16; strides free, last 1
  bool checked = false;     // CPU: lengths and page ids verified before anything is written
};

PAGODA_API Status gather_kv_cache(const GatherKvCache& args, const Execution& execution = {});

// Copies whole pages: source page pairs[i][0] to destination page pairs[i][1], in any order and at
// once. Any dtype and strides, equal shapes past the first extent. A source page may be read by
// many pairs, but a destination page must be written by one only, or may hold parts of several.
// Source and destination may be one tensor if no page is both read and written; they must not
// overlap in another way.
struct CopyPages {
  TensorView source;       // [num_pages, page_size, num_kv_heads, head_dim]
  TensorView destination;  // [num_pages', page_size, num_kv_heads, head_dim]
  TensorView page_pairs;   // int64 [num_pairs, 2], contiguous, in host memory for swap_pages
  // CPU: page ids verified before anything is written; in one tensor also that no page is both read
  // and written, and in any that none is written twice.
  bool checked = false;
};

// Within one device.
PAGODA_API Status copy_pages(const CopyPages& args, const Execution& execution = {});

// Between devices, or between a device and the host. page_pairs are read before the call returns;
// the copies are enqueued, and only pinned host memory lets the call return before they are done.
// A tensor that begins and ends in pinned memory is pinned all through.
PAGODA_API Status swap_pages(const CopyPages& args, const Execution& execution = {});

}  // namespace pagoda

#endif  // PAGODA_KV_CACHE_H_
