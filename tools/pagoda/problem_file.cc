#include "problem_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "error.h"
#include "problem_options.h"

namespace pagoda::tools {
namespace {

// A tensor of the API: its name in the file and its place in the problem.
struct Slot {
  const char* name;
  TensorView* view;
  bool is_required = false;
  bool is_paged = false;  // dimensions 1 and 2 are tokens and heads, swapped if head-major
};

std::vector<Slot> slots_of(AttentionProblem* problem) {
  PagedKvCache* kv = &problem->kv;
  AttentionMask* mask = &problem->mask;
  return {
      {.name = "q", .view = &problem->q, .is_required = true},
      {.name = "k_pages", .view = &kv->k_pages, .is_required = true, .is_paged = true},
      {.name = "v_pages", .view = &kv->v_pages, .is_required = true, .is_paged = true},
      {.name = "cu_seqlens_q", .view = &problem->cu_seqlens_q, .is_required = true},
      {.name = "seqused_k", .view = &problem->seqused_k, .is_required = true},
      {.name = "block_table", .view = &kv->block_table},
      {.name = "page_indptr", .view = &kv->page_indptr},
      {.name = "page_indices", .view = &kv->page_indices},
      {.name = "k_scale", .view = &kv->k_scale},
      {.name = "v_scale", .view = &kv->v_scale},
      {.name = "k_token_scale", .view = &kv->k_token_scale, .is_paged = true},
      {.name = "v_token_scale", .view = &kv->v_token_scale, .is_paged = true},
      {.name = "q_scale", .view = &problem->q_scale},
      {.name = "out_scale", .view = &problem->out_scale},
      {.name = "alibi_slopes", .view = &problem->alibi_slopes},
      {.name = "bias", .view = &problem->bias},
      {.name = "sinks", .view = &problem->sinks},
      {.name = "causal_per_seq", .view = &mask->causal_per_seq},
      {.name = "prefix_lens", .view = &mask->prefix_lens},
      {.name = "tree_words", .view = &mask->tree_words},
      {.name = "bidirectional_ranges", .view = &mask->bidirectional_ranges},
  };
}

void check_names(const std::vector<Slot>& slots, const SafetensorsFile& file) {
  std::string names;
  for (const Slot& slot : slots) {
    names.append(names.empty() ? "" : ", ").append(slot.name);
    if (slot.is_required && !file.entries().contains(slot.name)) {
      throw BadInput(fmt::format("{}: got no such tensor, wants one", slot.name));
    }
  }
  for (const auto& [name, entry] : file.entries()) {
    const auto is_slot = [&name = name](const Slot& slot) { return name == slot.name; };
    if (std::none_of(slots.begin(), slots.end(), is_slot)) {
      throw BadInput(fmt::format("tensor \"{}\": no such argument, wants one of {}", name, names));
    }
  }
}

// The API's dimensions [num_pages, page_size, num_kv_heads, ...] of a head-major tensor.
void swap_tokens_and_heads(TensorView* view) {
  if (view->rank < 3) return;  // the library says what is wrong with it
  std::swap(view->shape[1], view->shape[2]);
  std::swap(view->stride[1], view->stride[2]);
}

DType default_out_dtype(DType q_dtype) {
  return q_dtype == DType::kFloat8E4M3 ? DType::kBFloat16 : q_dtype;
}

}  // namespace

ProblemFile::ProblemFile(const std::string& path) {
  SafetensorsFile file(path);
  try {
    const ProblemOptions options = parse_problem_options(file.metadata());
    problem_ = options.problem;
    problem_.checked = true;
    const std::vector<Slot> slots = slots_of(&problem_);
    check_names(slots, file);
    for (const Slot& slot : slots) {
      if (!file.entries().contains(slot.name)) continue;
      inputs_.push_back(file.load(slot.name));
      *slot.view = inputs_.back().view;
      if (slot.is_paged && options.kv_layout == KvLayout::kHnd) swap_tokens_and_heads(slot.view);
    }
    problem_.out = problem_.q;
    problem_.out.data = nullptr;
    problem_.out.dtype = options.out_dtype.value_or(default_out_dtype(problem_.q.dtype));
    // Before memory is taken for outputs of a shape that may be nonsense.
    require_ok(supported(problem_));
    const int64_t num_tokens = problem_.q.shape[0];
    const int64_t num_heads = problem_.q.shape[1];
    out_ = make_dense_tensor(problem_.out.dtype, {num_tokens, num_heads, problem_.q.shape[2]});
    lse_ = problem_.lse_layout == LseLayout::kHeadsTokens
               ? make_dense_tensor(DType::kFloat32, {num_heads, num_tokens})
               : make_dense_tensor(DType::kFloat32, {num_tokens, num_heads});
    problem_.out = out_.view;
    problem_.lse = lse_.view;
  } catch (const BadInput& error) {
    throw BadInput(fmt::format("{}: {}", path, error.what()));
  }
}

}  // namespace pagoda::tools
