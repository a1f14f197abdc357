#include "pagoda/kv_cache.h"

#include <vector>

#include "calls.h"
#include "errors.h"

namespace pagoda::python {
namespace {

struct WriteCall {
  WriteKvCache args;
  PyObject* stream = nullptr;
  DType dtype = kRawUInt16;
  DType kv_dtype = kRawUInt16;
};

struct GatherCall {
  GatherKvCache args;
  PyObject* stream = nullptr;
  DType kv_dtype = kRawUInt16;
  DType out_dtype = kRawUInt16;
};

struct CopyCall {
  CopyPages args;
  PyObject* stream = nullptr;
  DType kv_dtype = kRawUInt16;
};

struct MergeCall {
  PyObject* states = nullptr;
  AttentionState merged;
  LseLayout lse_layout = LseLayout::kHeadsTokens;
  PyObject* stream = nullptr;
};

constexpr Field kWriteFields[] = {
    {"k", Kind::kTensor, offsetof(WriteCall, args.k), true},
    {"v", Kind::kTensor, offsetof(WriteCall, args.v), true},
    {"k_pages", Kind::kOutput, offsetof(WriteCall, args.k_pages), true},
    {"v_pages", Kind::kOutput, offsetof(WriteCall, args.v_pages), true},
    {"slot_mapping", Kind::kTensor, offsetof(WriteCall, args.slot_mapping), true},
    {"k_scale", Kind::kTensor, offsetof(WriteCall, args.k_scale)},
    {"v_scale", Kind::kTensor, offsetof(WriteCall, args.v_scale)},
    {"k_token_scale", Kind::kOutput, offsetof(WriteCall, args.k_token_scale)},
    {"v_token_scale", Kind::kOutput, offsetof(WriteCall, args.v_token_scale)},
    {"rope_cos_sin", Kind::kTensor, offsetof(WriteCall, args.rope.cos_sin)},
    {"rope_positions", Kind::kTensor, offsetof(WriteCall, args.rope.positions)},
    {"rope_interleaved", Kind::kBool, offsetof(WriteCall, args.rope.interleaved)},
    {"rope_q", Kind::kOutput, offsetof(WriteCall, args.rope.q)},
    {"checked", Kind::kBool, offsetof(WriteCall, args.checked)},
    {"dtype", Kind::kDType, offsetof(WriteCall, dtype)},
    {"kv_dtype", Kind::kDType, offsetof(WriteCall, kv_dtype)},
    {"stream", Kind::kObject, offsetof(WriteCall, stream)},
};

constexpr Field kGatherFields[] = {
    {"k_pages", Kind::kTensor, offsetof(GatherCall, args.kv.k_pages), true},
    {"v_pages", Kind::kTensor, offsetof(GatherCall, args.kv.v_pages), true},
    {"k_out", Kind::kOutput, offsetof(GatherCall, args.k_out), true},
    {"v_out", Kind::kOutput, offsetof(GatherCall, args.v_out), true},
    {"cu_seqlens_k", Kind::kTensor, offsetof(GatherCall, args.cu_seqlens_k), true},
    {"seq_starts", Kind::kTensor, offsetof(GatherCall, args.seq_starts)},
    {"block_table", Kind::kTensor, offsetof(GatherCall, args.kv.block_table)},
    {"page_indptr", Kind::kTensor, offsetof(GatherCall, args.kv.page_indptr)},
    {"page_indices", Kind::kTensor, offsetof(GatherCall, args.kv.page_indices)},
    {"k_scale", Kind::kTensor, offsetof(GatherCall, args.kv.k_scale)},
    {"v_scale", Kind::kTensor, offsetof(GatherCall, args.kv.v_scale)},
    {"k_token_scale", Kind::kTensor, offsetof(GatherCall, args.kv.k_token_scale)},
    {"v_token_scale", Kind::kTensor, offsetof(GatherCall, args.kv.v_token_scale)},
    {"checked", Kind::kBool, offsetof(GatherCall, args.checked)},
    {"kv_dtype", Kind::kDType, offsetof(GatherCall, kv_dtype)},
    {"out_dtype", Kind::kDType, offsetof(GatherCall, out_dtype)},
    {"stream", Kind::kObject, offsetof(GatherCall, stream)},
};

constexpr Field kCopyFields[] = {
    {"source", Kind::kTensor, offsetof(CopyCall, args.source), true},
    {"destination", Kind::kOutput, offsetof(CopyCall, args.destination), true},
    {"page_pairs", Kind::kTensor, offsetof(CopyCall, args.page_pairs), true},
    {"checked", Kind::kBool, offsetof(CopyCall, args.checked)},
    {"kv_dtype", Kind::kDType, offsetof(CopyCall, kv_dtype)},
    {"stream", Kind::kObject, offsetof(CopyCall, stream)},
};

constexpr Field kMergeFields[] = {
    {"states", Kind::kObject, offsetof(MergeCall, states), true},
    {"out", Kind::kOutput, offsetof(MergeCall, merged.out), true},
    {"lse", Kind::kOutput, offsetof(MergeCall, merged.lse)},
    {"lse_layout", Kind::kLseLayout, offsetof(MergeCall, lse_layout)},
    {"stream", Kind::kObject, offsetof(MergeCall, stream)},
};

InternedNames kWriteNames;
constexpr Signature kWrite{"write_kv_cache", kWriteFields, 5, &kWriteNames};
InternedNames kGatherNames;
constexpr Signature kGather{"gather_kv_cache", kGatherFields, 4, &kGatherNames};
InternedNames kCopyNames;
constexpr Signature kCopy{"copy_pages", kCopyFields, 3, &kCopyNames};
InternedNames kSwapNames;
constexpr Signature kSwap{"swap_pages", kCopyFields, 3, &kSwapNames};
InternedNames kMergeNames;
constexpr Signature kMerge{"merge_states", kMergeFields, 2, &kMergeNames};

// Reads a sequence of (out, lse) pairs.
bool read_states(PyObject* sequence, TensorReader* tensors, std::vector<AttentionState>* states) {
  const Py_ssize_t count = PySequence_Size(sequence);
  if (count < 0) return false;
  states->reserve(static_cast<size_t>(count) + 1);  // so that an empty list is no null pointer
  for (Py_ssize_t i = 0; i < count; ++i) {
    Ref pair(PySequence_GetItem(sequence, i));
    if (!pair) return false;
    if (PyTuple_Check(pair.get()) == 0 || PyTuple_Size(pair.get()) != 2) {
      PyErr_SetString(PyExc_TypeError, "states: wants a sequence of tuples (out, lse)");
      return false;
    }
    AttentionState& state = states->emplace_back();
    if (!tensors->read(PyTuple_GetItem(pair.get(), 0), "out", Access::kRead, &state.out) ||
        !tensors->read(PyTuple_GetItem(pair.get(), 1), "lse", Access::kRead, &state.lse)) {
      return false;
    }
  }
  return true;
}

using PagesCall = Status (*)(const CopyPages&, const Execution&);

PyObject* run_copy(const Signature& signature, const Arguments& arguments, PagesCall run) {
  TensorReader tensors;
  CopyCall call;
  Execution execution;
  if (!read_arguments(signature, arguments, &tensors, &call) ||
      !retype({"source", "kv_dtype", &call.args.source}, call.kv_dtype) ||
      !retype({"destination", "kv_dtype", &call.args.destination}, call.kv_dtype) ||
      !execution_of(tensors, call.stream, &execution)) {
    return nullptr;
  }
  return none_if_ok(signature.function, run_released([&] { return run(call.args, execution); }));
}

}  // namespace

PyObject* py_write_kv_cache(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names) {
  TensorReader tensors;
  WriteCall call;
  Execution execution;
  WriteKvCache& args = call.args;
  if (!read_arguments(kWrite, {values, count, names}, &tensors, &call) ||
      !retype({"k", "dtype", &args.k}, call.dtype) ||
      !retype({"v", "dtype", &args.v}, call.dtype) ||
      (args.rope.q.rank != 0 && !retype({"rope_q", "dtype", &args.rope.q}, call.dtype)) ||
      !retype({"k_pages", "kv_dtype", &args.k_pages}, call.kv_dtype) ||
      !retype({"v_pages", "kv_dtype", &args.v_pages}, call.kv_dtype) ||
      !execution_of(tensors, call.stream, &execution)) {
    return nullptr;
  }
  return none_if_ok(kWrite.function, run_released([&] { return write_kv_cache(args, execution); }));
}

PyObject* py_gather_kv_cache(PyObject*, PyObject* const* values, Py_ssize_t count,
                             PyObject* names) {
  TensorReader tensors;
  GatherCall call;
  Execution execution;
  GatherKvCache& args = call.args;
  if (!read_arguments(kGather, {values, count, names}, &tensors, &call) ||
      !retype({"k_pages", "kv_dtype", &args.kv.k_pages}, call.kv_dtype) ||
      !retype({"v_pages", "kv_dtype", &args.kv.v_pages}, call.kv_dtype) ||
      !retype({"k_out", "out_dtype", &args.k_out}, call.out_dtype) ||
      !retype({"v_out", "out_dtype", &args.v_out}, call.out_dtype) ||
      !execution_of(tensors, call.stream, &execution)) {
    return nullptr;
  }
  return none_if_ok(kGather.function,
                    run_released([&] { return gather_kv_cache(args, execution); }));
}

PyObject* py_copy_pages(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names) {
  return run_copy(kCopy, {values, count, names}, copy_pages);
}

PyObject* py_swap_pages(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names) {
  return run_copy(kSwap, {values, count, names}, swap_pages);
}

PyObject* py_merge_states(PyObject*, PyObject* const* values, Py_ssize_t count, PyObject* names) {
  TensorReader tensors;
  MergeCall call;
  Execution execution;
  std::vector<AttentionState> states;
  if (!read_arguments(kMerge, {values, count, names}, &tensors, &call) ||
      !read_states(call.states, &tensors, &states) ||
      !execution_of(tensors, call.stream, &execution)) {
    return nullptr;
  }
  return none_if_ok(kMerge.function, run_released([&] {
                      return merge_states(states.data(), static_cast<int32_t>(states.size()),
                                          call.merged, call.lse_layout, execution);
                    }));
}

Ref describe_kv_cache_calls() {
  Ref write = describe(kWriteFields, &static_cast<const WriteCall&>(WriteCall{}));
  Ref gather = describe(kGatherFields, &static_cast<const GatherCall&>(GatherCall{}));
  Ref copy = describe(kCopyFields, &static_cast<const CopyCall&>(CopyCall{}));
  Ref merge = describe(kMergeFields, &static_cast<const MergeCall&>(MergeCall{}));
  if (!write || !gather || !copy || !merge) return Ref();
  return Ref(Py_BuildValue("{s:O,s:O,s:O,s:O,s:O}", kWrite.function, write.get(), kGather.function,
                           gather.get(), kCopy.function, copy.get(), kSwap.function, copy.get(),
                           kMerge.function, merge.get()));
}

}  // namespace pagoda::python
