// unified_attention: the arguments of vLLM's kernel of that name, turned into the contract's. Done
// here and not in Python, since there it would cost as much as the call.
#include "attend.h"
#include "errors.h"

namespace pagoda::python {
namespace {

// vLLM's KVQuantMode, by value. After these come modes of 4 bits.
constexpr int32_t kInt8PerTokenHead = 2;
constexpr int32_t kFp8PerTokenHead = 3;

struct UnifiedCall {
  AttentionCall call;  // what means the same in both, and then all of it
  int32_t window_left = -1;
  TensorView q_descale, k_descale, v_descale;  // float32, for tensors of 8 bits only
  TensorView k_scale_cache, v_scale_cache;     // float32 [num_pages, page_size, num_kv_heads]
  TensorView mm_prefix_range;                  // int32 [num_seqs, max_ranges, 2]
  TensorView rswa_prefix_lens;                 // int32 [num_seqs]
  int32_t rswa_window = 0;                     // keys, the query's own included
  bool use_alibi_sqrt = false;
  bool mm_prefix_clamp_sliding_window = false;
  int32_t kv_quant_mode = 0;
  int32_t chunk_lookback = -1;
};

#define PAGODA_FIELD(kind, name, member) \
  { name, Kind::kind, offsetof(UnifiedCall, member) }
#define PAGODA_REQUIRED(kind, name, member) \
  { name, Kind::kind, offsetof(UnifiedCall, member), true }

// All of them may be given by position, in this order; python/pagoda/unified.py does.
constexpr Field kFields[] = {
    PAGODA_REQUIRED(kTensor, "q", call.problem.q),
    PAGODA_REQUIRED(kTensor, "k", call.problem.kv.k_pages),
    PAGODA_REQUIRED(kTensor, "v", call.problem.kv.v_pages),
    PAGODA_REQUIRED(kOutput, "out", call.problem.out),
    PAGODA_REQUIRED(kTensor, "cu_seqlens_q", call.problem.cu_seqlens_q),
    PAGODA_FIELD(kInt32, "max_seqlen_q", call.problem.max_seqlen_q),
    PAGODA_REQUIRED(kTensor, "seqused_k", call.problem.seqused_k),
    PAGODA_FIELD(kInt32, "max_seqlen_k", call.problem.max_seqlen_k),
    PAGODA_FIELD(kFloat, "softmax_scale", call.problem.softmax_scale),
    PAGODA_FIELD(kBool, "causal", call.problem.mask.causal),
    PAGODA_FIELD(kTensor, "causal_per_seq", call.problem.mask.causal_per_seq),
    PAGODA_FIELD(kInt32, "window_left", window_left),
    PAGODA_REQUIRED(kTensor, "block_table", call.problem.kv.block_table),
    PAGODA_FIELD(kFloat, "softcap", call.problem.logits_soft_cap),
    PAGODA_FIELD(kTensor, "q_descale", q_descale),
    PAGODA_FIELD(kTensor, "k_descale", k_descale),
    PAGODA_FIELD(kTensor, "v_descale", v_descale),
    PAGODA_FIELD(kTensor, "alibi_slopes", call.problem.alibi_slopes),
    PAGODA_FIELD(kTensor, "output_scale", call.problem.out_scale),
    PAGODA_FIELD(kTensor, "qq_bias", call.problem.bias),
    PAGODA_FIELD(kTensor, "sinks", call.problem.sinks),
    PAGODA_FIELD(kTensor, "mm_prefix_range", mm_prefix_range),
    PAGODA_FIELD(kTensor, "rswa_prefix_lens", rswa_prefix_lens),
    PAGODA_FIELD(kInt32, "rswa_window", rswa_window),
    PAGODA_FIELD(kBool, "use_alibi_sqrt", use_alibi_sqrt),
    PAGODA_FIELD(kInt32, "kv_quant_mode", kv_quant_mode),
    PAGODA_FIELD(kTensor, "k_scale_cache", k_scale_cache),
    PAGODA_FIELD(kTensor, "v_scale_cache", v_scale_cache),
    PAGODA_FIELD(kInt32, "chunk_lookback", chunk_lookback),
    PAGODA_FIELD(kBool, "mm_prefix_clamp_sliding_window", mm_prefix_clamp_sliding_window),
};
static_assert(std::size(kFields) <= kMaxFields);
#undef PAGODA_FIELD
#undef PAGODA_REQUIRED

InternedNames kNames;
constexpr Signature kUnified{"unified_attention", kFields, std::size(kFields), &kNames};

// The kernel reads the left window only. Without a causal mask it holds on both sides; with
// chunk_lookback it gives the size of the chunks instead.
void translate_mask(const UnifiedCall& given, AttentionMask* mask) {
  const bool is_chunked = given.chunk_lookback >= 0 && given.window_left >= 0;
  if (is_chunked) {
    mask->chunk_size = (given.window_left + 1) / (given.chunk_lookback + 1);
    mask->chunk_lookback = given.chunk_lookback;
  } else {
    mask->window_left = given.window_left;
    mask->window_right = mask->causal ? -1 : given.window_left;
  }
  if (given.rswa_prefix_lens.present()) {
    mask->prefix_lens = given.rswa_prefix_lens;
    mask->prefix_window_left = given.rswa_window - 1;
  }
  if (given.mm_prefix_range.present()) {
    mask->bidirectional_ranges = given.mm_prefix_range;
    mask->clamp_ranges_to_window_left = given.mm_prefix_clamp_sliding_window;
  }
}

// Callers pass descales always; the kernel ignores those of tensors that are not quantised.
void translate_scales(const UnifiedCall& given, AttentionCall* call) {
  AttentionProblem& problem = call->problem;
  const bool by_token = given.kv_quant_mode >= kInt8PerTokenHead;
  const bool is_quantised = element_bytes(problem.kv.k_pages.dtype) == 1;
  if (element_bytes(problem.q.dtype) == 1) problem.q_scale = given.q_descale;
  if (by_token) {
    problem.kv.k_token_scale = given.k_scale_cache;
    problem.kv.v_token_scale = given.v_scale_cache;
  } else if (is_quantised) {
    problem.kv.k_scale = given.k_descale;
    problem.kv.v_scale = given.v_descale;
  }
  // vLLM stores fp8 as bytes.
  if (problem.kv.k_pages.dtype == DType::kUInt8) call->kv_dtype = DType::kFloat8E4M3;
}

bool translate(UnifiedCall* given) {
  if (given->kv_quant_mode > kFp8PerTokenHead) {
    PyErr_Format(PyExc_NotImplementedError,
                 "pagoda.unified_attention: kv_quant_mode: got %d, Pagoda has none (0), fp8 (1), "
                 "and int8 (2) or fp8 (3) per token and head",
                 static_cast<int>(given->kv_quant_mode));
    return false;
  }
  AttentionCall& call = given->call;
  call.problem.alibi_sqrt = given->use_alibi_sqrt && call.problem.alibi_slopes.present();
  translate_mask(*given, &call.problem.mask);
  translate_scales(*given, &call);
  return settle(&call);
}

}  // namespace

PyObject* py_unified_attention(PyObject*, PyObject* const* values, Py_ssize_t count,
                               PyObject* names) {
  TensorReader tensors;
  UnifiedCall given;
  if (!read_arguments(kUnified, {values, count, names}, &tensors, &given) || !translate(&given)) {
    return nullptr;
  }
  return attend(kUnified.function, given.call, &tensors);
}

Ref describe_unified_call() {
  const UnifiedCall given;
  Ref options = describe(kFields, &given);
  return options ? Ref(Py_BuildValue("{s:O}", kUnified.function, options.get())) : Ref();
}

}  // namespace pagoda::python
