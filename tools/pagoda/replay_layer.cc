#include "replay_layer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compare.h"
#include "error.h"
#include "oracle_formats.h"
#include "pagoda/kv_cache.h"
#include "timing.h"

namespace pagoda::tools {
namespace {

constexpr int64_t kStepsOfRows = 4;  // rows of random data, in steps

// What a model hands to write_kv_cache: the pages' own type, or bf16 to be quantised.
DType new_row_dtype(DType kv_dtype) {
  return size_of(kv_dtype) == 1 ? DType::kBFloat16 : kv_dtype;
}

TensorView rows(const OwnedTensor& all, int64_t first, int64_t count) {
  TensorView view = all.view;
  const int64_t offset_bytes = first * view.stride[0] * static_cast<int64_t>(size_of(view.dtype));
  view.data = static_cast<char*>(view.data) + offset_bytes;
  view.shape[0] = count;
  return view;
}

double decode_at(const TensorView& view, int64_t i, int64_t j, int64_t k, int64_t l = 0) {
  const int64_t offset =
      i * view.stride[0] + j * view.stride[1] + k * view.stride[2] + l * view.stride[3];
  return testing::decode(view.dtype, static_cast<const char*>(view.data) +
                                         offset * static_cast<int64_t>(size_of(view.dtype)));
}

// Where a row of new K or V should be.
struct WrittenRow {
  const TensorView& pages;
  const TensorView& token_scale;
  int64_t page;
  int64_t offset;
};

// Compares a row of new K or V, [num_kv_heads, head_dim], with its place in the pages.
std::string compare_row(const char* name, const TensorView& rows, int64_t token,
                        const WrittenRow& written) {
  const TensorView& pages = written.pages;
  const bool scaled = written.token_scale.present();
  for (int64_t head = 0; head < rows.shape[1]; ++head) {
    const double scale =
        scaled ? decode_at(written.token_scale, written.page, written.offset, head) : 1.0;
    for (int64_t d = 0; d < rows.shape[2]; ++d) {
      const double value = decode_at(rows, token, head, d);
      const double wants = scale * testing::round_to(pages.dtype, value / scale);
      const double got = scale * decode_at(pages, written.page, written.offset, head, d);
      // A quotient in another precision may round to the next step.
      if (std::abs(got - wants) <= (scaled ? 1.001 * scale : 0.0)) continue;
      return fmt::format("{}[{}, {}, {}, {}]: got {}, wants {}", name, written.page, written.offset,
                         head, d, got, wants);
    }
  }
  return "";
}

}  // namespace

ReplayLayer::ReplayLayer(const Geometry& geometry, const SchedulerLimits& limits,
                         int32_t max_seqlen_k, uint64_t seed)
    : geometry_(geometry),
      cache_(geometry, limits.num_pages),
      batch_(limits.max_seqs, geometry.num_pages(max_seqlen_k)),
      random_(seed) {
  cache_.poison();
  const int64_t num_rows = kStepsOfRows * limits.token_budget;
  const DType kv_row_dtype = new_row_dtype(geometry.kv_dtype());
  q_rows_ =
      make_dense_tensor(geometry.q_dtype, {num_rows, geometry.num_q_heads, geometry.head_dim});
  k_rows_ = make_dense_tensor(kv_row_dtype, {num_rows, geometry.num_kv_heads, geometry.head_dim});
  v_rows_ = make_dense_tensor(kv_row_dtype, {num_rows, geometry.num_kv_heads, geometry.head_dim});
  for (const OwnedTensor* tensor : {&q_rows_, &k_rows_, &v_rows_}) {
    fill_normal(tensor->view, 1.0, &random_);
  }
  out_ = make_dense_tensor(geometry.out_dtype(),
                           {limits.token_budget, geometry.num_q_heads, geometry.head_dim});
  problem_ = make_problem(geometry, cache_);
  problem_.max_seqlen_k = max_seqlen_k;
  workspace_ = make_workspace({.max_num_tokens = limits.token_budget,
                               .max_num_seqs = limits.max_seqs,
                               .max_seqlen_k = max_seqlen_k,
                               .num_q_heads = geometry.num_q_heads,
                               .num_kv_heads = geometry.num_kv_heads,
                               .head_dim = geometry.head_dim});
}

void ReplayLayer::lay_out(const Step& step) {
  batch_.clear();
  slot_mapping_.clear();
  for (const ScheduledSeq& seq : step.seqs) {
    batch_.add(seq.q_len, seq.k_len, *seq.pages);
    for (int32_t token = seq.k_len - seq.q_len; token < seq.k_len; ++token) {
      const int64_t page = (*seq.pages)[static_cast<size_t>(token / geometry_.page_size)];
      slot_mapping_.push_back(page * geometry_.page_size + token % geometry_.page_size);
    }
  }
  batch_.attach_to(&problem_);
}

void ReplayLayer::draw_rows(int32_t num_tokens) {
  const int64_t first = random_.below(q_rows_.view.shape[0] - num_tokens + 1);
  problem_.q = rows(q_rows_, first, num_tokens);
  k_ = rows(k_rows_, first, num_tokens);
  v_ = rows(v_rows_, first, num_tokens);
  problem_.out = rows(out_, 0, num_tokens);
}

StepRecord ReplayLayer::run(const Step& step) {
  lay_out(step);
  const int32_t num_tokens = batch_.num_tokens();
  draw_rows(num_tokens);
  StepRecord record{.kind = step.kind, .num_seqs = batch_.num_seqs(), .num_tokens = num_tokens};
  const PagedKvCache& kv = problem_.kv;
  const Stopwatch write_time;
  require_ok(write_kv_cache(
      {.k = k_,
       .v = v_,
       .k_pages = kv.k_pages,
       .v_pages = kv.v_pages,
       .slot_mapping = TensorView::contiguous(slot_mapping_.data(), DType::kInt64, {num_tokens}),
       .k_scale = {},
       .v_scale = {},
       .k_token_scale = kv.k_token_scale,
       .v_token_scale = kv.v_token_scale,
       .rope = {}}));
  record.write_seconds = write_time.seconds();
  const Computed computed = compute(problem_, workspace_);
  record.plan_seconds = computed.plan_seconds;
  record.attention_seconds = computed.attention_seconds;
  record.bytes = static_cast<double>(computed.explanation.kv_bytes) +
                 static_cast<double>(dense_bytes(problem_.q) + dense_bytes(problem_.out));
  record.flops = static_cast<double>(computed.explanation.flops);
  record.kernel = computed.explanation.kernel;
  return record;
}

int64_t ReplayLayer::verify(int32_t num_seqs, std::vector<std::string>* failures) const {
  const auto* cu_seqlens_q = static_cast<const int32_t*>(problem_.cu_seqlens_q.data);
  const std::vector<int32_t> seqs = spread_tokens(batch_.num_seqs(), num_seqs);
  for (const int32_t seq : seqs) {
    const int32_t token = cu_seqlens_q[seq + 1] - 1;
    std::string failure = verify_write(token, slot_mapping_[static_cast<size_t>(token)]);
    if (failure.empty()) failure = compare_with_oracle(problem_, {token}).message;
    if (!failure.empty()) failures->push_back(std::move(failure));
  }
  return static_cast<int64_t>(seqs.size());
}

std::string ReplayLayer::verify_write(int32_t token, int64_t slot) const {
  const PagedKvCache& kv = problem_.kv;
  const int64_t page = slot / geometry_.page_size;
  const int64_t offset = slot % geometry_.page_size;
  std::string failure =
      compare_row("k_pages", k_, token, {kv.k_pages, kv.k_token_scale, page, offset});
  if (!failure.empty()) return failure;
  return compare_row("v_pages", v_, token, {kv.v_pages, kv.v_token_scale, page, offset});
}

}  // namespace pagoda::tools
