// What is timed: batches by name, from bench/workloads.json, and what each must at least cost.
#ifndef PAGODA_BENCH_GPU_WORKLOAD_H_
#define PAGODA_BENCH_GPU_WORKLOAD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "pagoda/types.h"

namespace pagoda::bench {

struct Sequence {
  int32_t q_len;
  int32_t k_len;  // counts the query's tokens
};

// Causal; q and out are bf16.
struct Workload {
  std::string name;
  int32_t num_q_heads;
  int32_t num_kv_heads;
  int32_t head_dim;
  int32_t page_size;
  int32_t window_left;    // -1 = none
  float logits_soft_cap;  // 0 = none
  DType kv_dtype;
  std::vector<Sequence> sequences;

  int64_t num_tokens() const;
  // K and V of visible keys once, with their tokens' scales if they are int8; q and out once.
  double bytes() const;
  // 4 * head_dim for each visible (query head, query, key).
  double flops() const;
};

std::vector<Workload> load_workloads(const std::string& path, DType kv_dtype);

}  // namespace pagoda::bench

#endif  // PAGODA_BENCH_GPU_WORKLOAD_H_
