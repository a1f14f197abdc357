// The shapes that other attention libraries test themselves with. Not the same tests: data are
// those of cases.h, results are held to the tolerance of this project, and where a project runs the
// full product of its axes, here some of them take turns. Each function says what differs.
#include <algorithm>
#include <cmath>

#include "case_grids_parts.h"
#include "cases_memory.h"

namespace pagoda::testing {
namespace {

using Seqs = std::vector<std::pair<int32_t, int32_t>>;

const std::vector<Seqs>& vllm_batches() {
  static const std::vector<Seqs> kBatches = {{{1, 1328}, {5, 18}, {129, 463}},
                                             {{1, 523}, {1, 37}, {1, 2011}}};
  return kBatches;
}

// Unified attention: batch x heads x head_dim x window x soft cap x query dtype, the full product,
// as vLLM has it. Its axis of segments that a kernel splits into is none of ours; split policies
// are crossed with features in case_grids_features.cc. Scales of e4m3 are per head, not three
// constants.
void add_vllm_unified(std::vector<Case>* cases) {
  for (const Seqs& seqs : vllm_batches()) {
    for (const Heads heads : {Heads{4, 4}, Heads{8, 2}, Heads{5, 1}}) {
      for (const int32_t head_dim : {128, 256}) {
        for (const int32_t window : {0, 64, 128, 256}) {
          for (const float soft_cap : {0.0f, 50.0f}) {
            for (const DType dtype : {DType::kBFloat16, DType::kFloat8E4M3}) {
              Case c{.seqs = seqs,
                     .head_dim = head_dim,
                     .window_left = window - 1,  // W keys with the query's own; none = -1
                     .soft_cap = soft_cap};
              set_heads(heads, &c);
              set_dtype(dtype, &c);
              cases->push_back(c);
            }
          }
        }
      }
    }
  }
}

// 16-bit queries with fp8 pages; causality per sequence; multimodal prefixes; a shared prefix. One
// or two cases of each, at the lengths that vLLM has but for those of the shared prefix, which are
// shorter: 29 and 271 for 129 and 871, 488 for 988, and no 1023 and 2304.
void add_vllm_variants(std::vector<Case>* cases) {
  for (const Heads heads : {Heads{4, 4}, Heads{8, 2}}) {
    for (const Seqs& seqs : vllm_batches()) {
      Case c{.seqs = seqs,
             .head_dim = 128,
             .kv_dtype = DType::kFloat8E4M3,
             .scales = ScaleKind::kScalar};
      set_heads(heads, &c);
      cases->push_back(c);
    }
    for (int flags = 0; flags < 3; ++flags) {
      Case c{.seqs = {{1, 128}, {5, 64}, {1, 256}}, .head_dim = 128, .causal_per_seq = true};
      set_heads(heads, &c);
      cases->push_back(c);
    }
    for (const int32_t window_left : {-1, 30}) {
      Case c{.seqs = {{128, 128}, {40, 100}}, .window_left = window_left, .num_ranges = 2};
      set_heads(heads, &c);
      cases->push_back(c);
    }
  }
  // A prefix that many sequences share.
  for (const int32_t head_dim : {128, 192, 256}) {
    for (const float soft_cap : {0.0f, 50.0f}) {
      cases->push_back({.seqs = {{29, 271}, {18, 280}, {37, 488}, {1, 257}},
                        .head_dim = head_dim,
                        .soft_cap = soft_cap});
    }
  }
}

// The CPU backend's: decode, prefill and mixed batches, ALiBi and sinks, all dtypes. Shrunk, since
// the oracle is slow: the prefill batch has 345 tokens in place of 2345, and 34 of 1131 in place of
// 134 of 5131, the mixed one likewise. Batch x heads x head_dim is the full product (head_dim 512
// is not supported); dtype, window, ALiBi and sinks take turns.
void add_vllm_cpu(std::vector<Case>* cases) {
  const std::vector<Seqs> batches = {{{1, 213}, {1, 1}, {1, 312}, {1, 7}, {1, 7812}},
                                     {{345, 345}, {5, 5}, {3, 16}, {34, 1131}},
                                     {{145, 345}, {1, 3}, {1, 1812}, {5, 5}}};
  for (const Seqs& seqs : batches) {
    for (const Heads heads : {Heads{4, 4}, Heads{8, 2}, Heads{9, 3}}) {
      for (const int32_t head_dim : {80, 96, 112, 128}) {
        const DType dtypes[] = {DType::kBFloat16, DType::kFloat16, DType::kFloat32};
        Case c{.seqs = seqs, .head_dim = head_dim};
        set_heads(heads, &c);
        set_dtype(dtypes[cases->size() % 3], &c);
        c.window_left = cases->size() % 2 == 0 ? -1 : 255;
        c.alibi = cases->size() % 4 == 1;
        c.sinks = cases->size() % 4 >= 2;
        cases->push_back(c);
      }
    }
  }
}

// (q_len, k_len) of FlashAttention 3's tests: fixed lengths, ragged batches, KV cache.
const Seqs& flash_pairs() {
  static const Seqs kPairs = {
      {1, 1},       {1, 3},       {2, 1},       {64, 128},    {128, 128},   {128, 192},
      {256, 256},   {239, 1},     {799, 3},     {113, 203},   {113, 128},   {128, 217},
      {113, 211},   {108, 256},   {256, 512},   {307, 256},   {384, 256},   {640, 128},
      {512, 256},   {511, 1},     {3, 513},     {1024, 1024}, {1023, 1024}, {1024, 1023},
      {2048, 2048}, {4096, 4096}, {4224, 4224}, {1, 128},     {1, 339},     {3, 1024},
      {64, 800},    {64, 256},    {3, 799},     {64, 2048},   {16, 20000},  {2048, 3577}};
  return kPairs;
}

enum class FlashMask { kFull, kCausal, kLocal };

void set_flash_mask(FlashMask mask, Random* random, Case* c) {
  const auto& [q_len, k_len] = c->seqs[0];
  c->causal = mask == FlashMask::kCausal;
  if (mask != FlashMask::kLocal) return;
  const int32_t widest = std::min(k_len, 400);
  c->window_left = static_cast<int32_t>(random->between(0, widest));
  c->window_right = static_cast<int32_t>(random->between(0, widest));
}

// Fewer heads and channels where the score matrix is large.
void set_flash_heads(size_t kind, Case* c) {
  const Heads full[] = {{6, 6}, {6, 3}, {6, 1}};  // multi-head, grouped, multi-query
  const Heads few[] = {{2, 2}, {2, 1}, {2, 1}};
  set_heads(full[kind], c);
  if (work_of(*c) > 2e7) set_heads(few[kind], c);
  if (work_of(*c) > 1e8) {
    set_heads({1, 1}, c);
    c->head_dim = 64;
  }
}

}  // namespace

std::vector<Case> vllm_cases() {
  std::vector<Case> cases;
  add_vllm_unified(&cases);
  add_vllm_variants(&cases);
  add_vllm_cpu(&cases);
  return seeded(cases);
}

// Every pair of lengths under every mask. FlashAttention runs the product with all other axes; here
// these take turns, each at a pace of its own, so that every value of each appears with small and
// large shapes. The largest matrices have fewer heads and channels, and come once. As there, scores
// are scaled up to where a soft cap bends them: their standard deviation is a quarter of it.
std::vector<Case> flash_attention_cases() {
  const std::vector<int32_t> head_dims = {64, 96, 128, 192, 256};
  const std::vector<int32_t> page_sizes = {1, 4, 128, 16, 64, 32, 256};
  const std::vector<DType> dtypes = {DType::kBFloat16, DType::kFloat16, DType::kFloat8E4M3};
  Random random(3, "flash attention grid");
  std::vector<Case> cases;
  for (size_t round = 0; round < 2; ++round) {
    for (const auto& pair : flash_pairs()) {
      for (const FlashMask mask : {FlashMask::kFull, FlashMask::kCausal, FlashMask::kLocal}) {
        const double pairs = static_cast<double>(pair.first) * pair.second;
        // The largest matrices once, and through a window.
        if (pairs > 3e6 && (round > 0 || mask != FlashMask::kLocal)) continue;
        if (pairs > 2e5 && round > 0) continue;
        const size_t i = cases.size();
        Case c{.seqs = {pair},
               .head_dim = head_dims[i % head_dims.size()],
               .page_size = page_sizes[i % page_sizes.size()],
               .soft_cap = i / 2 % 2 == 0 ? 0.0f : 15.0f,
               .split_policy = i % 4 == 3 ? SplitPolicy::kFixed : SplitPolicy::kBalanced};
        set_dtype(dtypes[i / 5 % dtypes.size()], &c);
        set_flash_mask(mask, &random, &c);
        set_flash_heads(i / 3 % 3, &c);
        if (c.soft_cap > 0.0f) {
          c.softmax_scale = c.soft_cap / 4 / std::sqrt(static_cast<float>(c.head_dim));
        }
        // Ragged: with shorter sequences beside it, one without a query.
        if (round > 0) {
          c.seqs.insert(
              c.seqs.end(),
              {{pair.first / 2, pair.second / 3 + 1}, {0, pair.second / 2}, {1, pair.second}});
        }
        cases.push_back(c);
      }
    }
  }
  return seeded(cases);
}

std::vector<Grid> all_grids(int num_random, uint32_t seed) {
  return {{"edge", edge_cases()},
          {"vllm", vllm_cases()},
          {"flash_attention", flash_attention_cases()},
          {"feature", feature_cases()},
          {"once_wrong", once_wrong_cases()},
          {"random", random_cases(num_random, seed)}};
}

}  // namespace pagoda::testing
