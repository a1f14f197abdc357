// Batches of random lengths and the line of cost that the planner makes of them, on the host.
#ifndef PAGODA_TESTS_RANDOM_PLAN_H_
#define PAGODA_TESTS_RANDOM_PLAN_H_

#include <algorithm>
#include <random>
#include <vector>

#include "plan/share.h"

namespace pagoda::testing {

// What a batch is drawn from.
struct BatchRange {
  int num_seqs;
  int longest_q;
  int longest_k;  // beside the queries' own keys
};

// Lengths, heads and masks; nothing else of the problem is there. Must stay where it is.
struct RandomBatch {
  std::vector<int32_t> cu_seqlens_q{0};
  std::vector<int32_t> seqused_k;
  AttentionParams params{};

  RandomBatch(std::mt19937* random, const BatchRange& range) {
    const auto pick = [&](int low, int high) {
      return std::uniform_int_distribution<int>(low, high)(*random);
    };
    for (int i = 0; i < range.num_seqs; ++i) {
      const int q_len = pick(0, 3) == 0 ? pick(0, range.longest_q) : pick(0, 2);
      cu_seqlens_q.push_back(cu_seqlens_q.back() + q_len);
      seqused_k.push_back(pick(0, q_len + range.longest_k));
    }
    params.cu_seqlens_q = cu_seqlens_q.data();
    params.seqused_k = seqused_k.data();
    params.num_tokens = cu_seqlens_q.back();
    params.num_seqs = range.num_seqs;
    params.num_kv_heads = pick(1, 8);
    params.group = pick(1, 9);
    params.num_q_heads = params.num_kv_heads * params.group;
    params.mask.causal = pick(0, 3) > 0;
    params.mask.window_left = pick(0, 2) == 0 ? pick(0, 3000) : -1;
    params.mask.window_right = params.mask.prefix_window_left = -1;
  }
  RandomBatch(const RandomBatch&) = delete;
  RandomBatch& operator=(const RandomBatch&) = delete;
};

// The planner's functions put together as a backend does it.
struct HostLine {
  std::vector<int32_t> tile_begin{0};
  std::vector<int64_t> cost_begin{0};
  int64_t share = 0;

  HostLine(const PlanConfig& config, const AttentionParams& params) {
    int64_t largest_unit = 0;
    for (int32_t seq = 0; seq < params.num_seqs; ++seq) {
      const SequenceShape shape = sequence_shape(params, seq);
      const int32_t num_tiles = num_row_tiles(config, params, shape);
      tile_begin.push_back(tile_begin.back() + num_tiles);
      for (int32_t t = 0; t < num_tiles; ++t) {
        const int64_t cost = row_tile_of_heads(config, params, shape, t).cost;
        cost_begin.push_back(cost_begin.back() + cost * params.num_kv_heads);
        largest_unit = std::max(largest_unit, cost);
      }
    }
    share = share_length(config, line().total(), largest_unit,
                         int64_t{line().num_tiles()} * params.num_kv_heads);
  }

  CostLine line() const {
    return {tile_begin.data(), cost_begin.data(), static_cast<int32_t>(tile_begin.size()) - 1};
  }
};

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_RANDOM_PLAN_H_
