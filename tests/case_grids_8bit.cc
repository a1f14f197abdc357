// Prompts over K and V of 8 bits.
#include <functional>
#include <iterator>
#include <vector>

#include "case_grids_parts.h"

namespace pagoda::testing {
namespace {

// Prompts over K and V of 8 bits, which a GPU kernel converts on their way: tiles of keys that
// begin and end anywhere, rows of every width, pages of every size; scales and data take turns.
void add_prompts_over_fp8(const std::vector<int32_t>& head_dims, std::vector<Case>* cases) {
  const ScaleKind scales[] = {ScaleKind::kNone, ScaleKind::kScalar, ScaleKind::kPerHead,
                              ScaleKind::kPerSeqHead};
  const DataKind data[] = {DataKind::kNormal, DataKind::kLarge, DataKind::kNormal,
                           DataKind::kNegative, DataKind::kLargeAll};
  for (const DType kv_dtype : {DType::kFloat8E4M3, DType::kFloat8E5M2}) {
    for (const DType q_dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat8E4M3}) {
      for (const int32_t head_dim : head_dims) {
        for (const int32_t page_size : {1, 16, 48}) {
          const size_t turn = cases->size();
          Case c{.seqs = {{130, 130}, {40, 300}, {1, 50}, {70, 900}},
                 .head_dim = head_dim,
                 .page_size = page_size,
                 .q_dtype = q_dtype,
                 .kv_dtype = kv_dtype,
                 .table = turn % 2 == 0 ? TableKind::kDense : TableKind::kCsr,
                 .scales = scales[turn % std::size(scales)],
                 .data = data[turn % std::size(data)]};
          if (q_dtype == DType::kFloat16) c.out_dtype = q_dtype;
          if (turn % 3 == 0) c.window_left = 100;
          cases->push_back(c);
        }
      }
    }
  }
}

// Prompts of so many packed rows that a GPU converts K and V of 8 bits before, beside shorter ones.
void add_long_prompts_over_fp8(std::vector<Case>* cases) {
  const std::vector<std::function<void(Case*)>> variants = {
      [](Case*) {},
      [](Case* c) { c->window_left = 100, c->scales = ScaleKind::kPerHead; },
      [](Case* c) { c->soft_cap = 20.0f, c->data = DataKind::kLarge; },
      [](Case* c) { c->page_size = 1, c->layout = KvLayout::kInterleaved, c->sinks = true; },
      [](Case* c) { c->q_dtype = c->out_dtype = DType::kFloat16, c->page_size = 48; },
      [](Case* c) {
        c->q_dtype = DType::kFloat8E4M3, c->scales = ScaleKind::kPerSeqHead, c->causal = false;
      },
      [](Case* c) { c->non_finite = NonFinite::kNanV, c->layout = KvLayout::kHnd; },
      [](Case* c) { c->data = DataKind::kNegativeAll, c->table = TableKind::kCsr; }};
  for (const int32_t head_dim : {64, 80, 128, 256}) {
    for (size_t i = 0; i < variants.size(); ++i) {
      Case c{.seqs = {{64, 300}, {5, 90}, {70, 129}, {1, 40}},
             .head_dim = head_dim,
             .kv_dtype = i % 3 == 0 ? DType::kFloat8E5M2 : DType::kFloat8E4M3};
      set_heads({32, 1}, &c);
      variants[i](&c);
      cases->push_back(c);
    }
    Case two_heads{.seqs = {{64, 64}, {140, 300}, {128, 1000}},
                   .head_dim = head_dim,
                   .kv_dtype = DType::kFloat8E4M3,
                   .scales = ScaleKind::kPerSeqHead};
    set_heads({32, 2}, &two_heads);
    cases->push_back(two_heads);
  }
}

// Prompts whose tokens have scales of K and V.
void add_prompts_with_token_scales(std::vector<Case>* cases) {
  const DataKind data[] = {DataKind::kNormal, DataKind::kLarge, DataKind::kNormal,
                           DataKind::kNegativeAll};
  const int32_t page_sizes[] = {16, 1, 48};
  for (const DType kv_dtype : {DType::kInt8, DType::kFloat8E4M3, DType::kFloat8E5M2}) {
    for (const DType q_dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat8E4M3}) {
      for (const int32_t head_dim : {64, 128, 208}) {
        const size_t turn = cases->size();
        Case c{.seqs = {{130, 130}, {40, 300}, {1, 50}, {70, 900}},
               .head_dim = head_dim,
               .page_size = page_sizes[turn % std::size(page_sizes)],
               .q_dtype = q_dtype,
               .kv_dtype = kv_dtype,
               .scales = ScaleKind::kPerTokenHead,
               .data = data[turn % std::size(data)]};
        if (q_dtype == DType::kFloat16) c.out_dtype = q_dtype;
        if (turn % 5 == 0) c.window_left = 100;
        cases->push_back(c);
        // So many rows that a GPU converts K and V before.
        c.seqs = {{64, 300}, {5, 90}, {70, 129}, {1, 40}};
        set_heads({32, 1}, &c);
        if (turn % 4 == 0 && head_dim >= 128) c.soft_cap = 20.0f;
        if (turn % 4 == 1) c.layout = KvLayout::kPadded;
        if (turn % 4 == 2) c.non_finite = NonFinite::kNanV;
        cases->push_back(c);
      }
    }
  }
}

}  // namespace

void add_8bit_prompts(std::vector<Case>* cases) {
  add_prompts_over_fp8({32, 64, 80, 128}, cases);
  add_prompts_over_fp8({208}, cases);
  add_long_prompts_over_fp8(cases);
  add_prompts_with_token_scales(cases);
}

}  // namespace pagoda::testing
