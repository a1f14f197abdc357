#include "step.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <sstream>

#include "oracle_formats.h"

namespace pagoda::testing {
namespace {

// Row `position` of q, K or V of a sequence.
void fill_row(const Model& model, const char* name, uint32_t sequence, int32_t position,
              int32_t num_heads, const std::function<void*(int32_t head, int32_t d)>& place) {
  std::ostringstream stream;
  stream << name << model.layer << '@' << position;
  Random random(sequence, stream.str());
  for (int32_t head = 0; head < num_heads; ++head) {
    for (int32_t d = 0; d < model.head_dim; ++d) {
      encode(model.dtype, random.normal(), place(head, d));
    }
  }
}

int32_t pages_of(const Slice& slice, int32_t page_size) {
  return (slice.end + page_size - 1) / page_size;
}

}  // namespace

Step::Step(const Model& model, const std::vector<Slice>& slices, const StepLayout& layout)
    : slices_(slices) {
  const auto num_seqs = static_cast<int64_t>(slices.size());
  int64_t num_tokens = layout.padding_rows;
  int64_t num_pages = 3;
  int64_t max_pages = 1;
  for (const Slice& slice : slices) {
    num_tokens += slice.end - slice.begin;
    num_pages += pages_of(slice, layout.page_size);
    max_pages = std::max<int64_t>(max_pages, pages_of(slice, layout.page_size));
  }
  problem_.q = pool_.make(model.dtype, {num_tokens, model.num_q_heads, model.head_dim});
  problem_.out = pool_.make(model.dtype, {num_tokens, model.num_q_heads, model.head_dim});
  problem_.lse = pool_.make(DType::kFloat32, {num_tokens, model.num_q_heads});
  problem_.lse_layout = LseLayout::kTokensHeads;
  const std::vector<int64_t> pages = {num_pages, layout.page_size, model.num_kv_heads,
                                      model.head_dim};
  problem_.kv.k_pages = pool_.make(model.dtype, pages);
  problem_.kv.v_pages = pool_.make(model.dtype, pages);
  problem_.kv.block_table = pool_.make(DType::kInt32, {num_seqs, max_pages});
  problem_.cu_seqlens_q = pool_.make(DType::kInt32, {num_seqs + 1});
  problem_.seqused_k = pool_.make(DType::kInt32, {num_seqs});
  fill(model, layout);
}

void Step::fill(const Model& model, const StepLayout& layout) {
  std::vector<int32_t> free_pages(problem_.kv.k_pages.shape[0]);
  std::iota(free_pages.begin(), free_pages.end(), 0);
  Random(layout.page_seed, "page order").shuffle(&free_pages);
  int32_t token = 0;
  for (size_t s = 0; s < slices_.size(); ++s) {
    const Slice& slice = slices_[s];
    element_as<int32_t>(problem_.cu_seqlens_q, s) = token;
    element_as<int32_t>(problem_.seqused_k, s) = slice.end;
    for (int32_t j = 0; j < pages_of(slice, layout.page_size); ++j) {
      element_as<int32_t>(problem_.kv.block_table, s, j) = free_pages.back();
      free_pages.pop_back();
    }
    for (int32_t t = 0; t < slice.end; ++t) {
      const int32_t page = element_as<int32_t>(problem_.kv.block_table, s, t / layout.page_size);
      const int32_t slot = t % layout.page_size;
      for (const auto& [name, tensor] :
           {std::pair("k", &problem_.kv.k_pages), std::pair("v", &problem_.kv.v_pages)}) {
        fill_row(model, name, slice.sequence, t, model.num_kv_heads,
                 [&, view = tensor](int32_t head, int32_t d) {
                   return element(*view, page, slot, head, d);
                 });
      }
    }
    for (int32_t p = slice.begin; p < slice.end; ++p, ++token) {
      fill_row(model, "q", slice.sequence, p, model.num_q_heads,
               [&](int32_t head, int32_t d) { return element(problem_.q, token, head, d); });
    }
  }
  element_as<int32_t>(problem_.cu_seqlens_q, slices_.size()) = token;
}

RowBits Step::run(const Execution& execution) {
  size_t bytes = 0;
  Status status = workspace_size(limits_of(problem_, execution), &bytes);
  EXPECT_TRUE(status.ok()) << status.message();
  Buffer workspace(bytes, kGuardBytes);
  Plan plan;
  status = pagoda::plan(problem_, {workspace.data(), bytes}, execution, &plan);
  EXPECT_TRUE(status.ok()) << status.message();
  RowBits rows = run(plan, execution);
  EXPECT_TRUE(workspace.guards_intact());
  return rows;
}

RowBits Step::run(const Plan& plan, const Execution& execution) {
  std::memset(problem_.out.data, kPoison, bytes_spanned(problem_.out));
  std::memset(problem_.lse.data, kPoison, bytes_spanned(problem_.lse));
  const Status status = attention(problem_, plan, execution);
  EXPECT_TRUE(status.ok()) << status.message();

  RowBits rows;
  const size_t out_bytes = bytes_spanned(problem_.out) / problem_.out.shape[0];
  const size_t lse_bytes = bytes_spanned(problem_.lse) / problem_.lse.shape[0];
  int64_t token = 0;
  for (const Slice& slice : slices_) {
    for (int32_t p = slice.begin; p < slice.end; ++p, ++token) {
      std::vector<uint8_t>& row = rows[{slice.sequence, p}];
      row.resize(out_bytes + lse_bytes);
      std::memcpy(row.data(), element(problem_.out, token), out_bytes);
      std::memcpy(row.data() + out_bytes, element(problem_.lse, token), lse_bytes);
    }
  }
  return rows;
}

Explanation explained(const AttentionProblem& problem) {
  size_t bytes = 0;
  EXPECT_TRUE(workspace_size(limits_of(problem), &bytes).ok());
  Buffer workspace(bytes);
  Plan plan;
  EXPECT_TRUE(pagoda::plan(problem, {workspace.data(), bytes}, {}, &plan).ok());
  Explanation explanation;
  EXPECT_TRUE(explain(problem, plan, &explanation).ok());
  return explanation;
}

double largest_difference(const RowBits& rows, const RowBits& reference, const Model& model) {
  double largest = 0.0;
  const size_t element_bytes = size_of(model.dtype);
  const size_t out_bytes = element_bytes * model.num_q_heads * model.head_dim;
  for (const auto& [key, row] : rows) {
    const std::vector<uint8_t>& other = reference.at(key);
    const auto compare = [&, mine = &row](DType dtype, size_t offset) {
      const double difference =
          std::abs(decode(dtype, &(*mine)[offset]) - decode(dtype, &other[offset]));
      // A NaN, as unwritten rows hold, is no agreement.
      largest = difference <= largest ? largest : std::isnan(difference) ? INFINITY : difference;
    };
    for (size_t i = 0; i < out_bytes; i += element_bytes) compare(model.dtype, i);
    for (size_t i = out_bytes; i < row.size(); i += sizeof(float)) compare(DType::kFloat32, i);
  }
  return largest;
}

void expect_same_bits(const RowBits& rows, const RowBits& reference) {
  for (const auto& [key, row] : rows) {
    ASSERT_TRUE(reference.contains(key));
    ASSERT_EQ(row, reference.at(key)) << "sequence " << key.first << ", position " << key.second;
  }
}

}  // namespace pagoda::testing
