// The grids, and what they share.
#ifndef PAGODA_TESTS_CASE_GRIDS_PARTS_H_
#define PAGODA_TESTS_CASE_GRIDS_PARTS_H_

#include <vector>

#include "cases.h"

namespace pagoda::testing {

struct Heads {
  int32_t num_q_heads;
  int32_t num_kv_heads;
};

inline void set_heads(Heads heads, Case* c) {
  c->num_q_heads = heads.num_q_heads;
  c->num_kv_heads = heads.num_kv_heads;
}

// q, K, V and out of one dtype; e4m3 gets scales and a bf16 output.
inline void set_dtype(DType dtype, Case* c) {
  c->q_dtype = c->kv_dtype = c->out_dtype = dtype;
  if (dtype != DType::kFloat8E4M3) return;
  c->out_dtype = DType::kBFloat16;
  c->scales = ScaleKind::kPerHead;
}

// Multiply-adds of a score matrix that hides nothing.
inline double work_of(const Case& c) {
  double pairs = 0.0;
  for (const auto& [q_len, k_len] : c.seqs) pairs += static_cast<double>(q_len) * k_len;
  return pairs * c.num_q_heads * c.head_dim;
}

// Gives every case a seed of its own: data, gaps and paddings follow from it.
inline std::vector<Case> seeded(std::vector<Case> cases) {
  for (size_t i = 0; i < cases.size(); ++i) cases[i].seed = static_cast<uint32_t>(i + 1);
  return cases;
}

// Appends what feature_cases() has of prompts over K and V of 8 bits.
void add_8bit_prompts(std::vector<Case>* cases);

std::vector<Case> edge_cases();
std::vector<Case> vllm_cases();
std::vector<Case> flash_attention_cases();
std::vector<Case> feature_cases();
std::vector<Case> once_wrong_cases();
std::vector<Case> random_cases(int count, uint32_t seed);

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_CASE_GRIDS_PARTS_H_
