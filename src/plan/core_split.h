// How a step's two kernels divide the cores: one bound by memory, of sequences of few rows, and one
// bound by arithmetic, of those of many.
#ifndef PAGODA_PLAN_CORE_SPLIT_H_
#define PAGODA_PLAN_CORE_SPLIT_H_

#include "core/paged_kv.h"
#include "plan/share.h"

namespace pagoda {

// What sequences come to in one kernel.
struct BatchCost {
  int64_t cost;
  int64_t num_units;  // (row tile, KV head)

  PAGODA_HD BatchCost& operator+=(const BatchCost& other) {
    cost += other.cost;
    num_units += other.num_units;
    return *this;
  }
};

// Of one sequence, roughly: the number of its row tiles times the mean of first and last.
PAGODA_HD BatchCost sequence_cost(const PlanConfig& config, const AttentionParams& params,
                                  const SequenceShape& shape) {
  const int32_t num_tiles = num_row_tiles(config, params, shape);
  if (num_tiles == 0) return {};
  const int64_t ends = row_tile_of_heads(config, params, shape, 0).cost +
                       row_tile_of_heads(config, params, shape, num_tiles - 1).cost;
  return {ends * num_tiles / 2 * params.num_kv_heads, int64_t{num_tiles} * params.num_kv_heads};
}

// How many of its workers, one per core, a kernel bound by arithmetic uses beside one bound by
// memory, which runs on the other cores and can use the memory fully from half of them. Both end
// together, if the times that they need alone on all cores are as their costs.
PAGODA_HD int32_t workers_beside(int32_t num_workers, int64_t cost, int64_t memory_cost) {
  if (cost == 0 || memory_cost == 0) return num_workers;
  const float ratio = static_cast<float>(memory_cost) / static_cast<float>(cost);
  const float left_to_memory = ratio < 2.0f ? ratio / (2.0f + ratio) : 1.0f - 1.0f / ratio;
  const auto left = static_cast<int32_t>(left_to_memory * static_cast<float>(num_workers));
  return max_of(num_workers - left, 1);
}

// The fewest workers that take so many units in as many rounds, where these are few: where they are
// many, those that end early take another unit.
PAGODA_HD int32_t workers_in_rounds(int32_t num_workers, int64_t num_units) {
  constexpr int64_t kFewRounds = 3;
  const int64_t rounds = ceil_div(num_units, int64_t{num_workers});
  if (rounds < 2 || rounds > kFewRounds) return num_workers;
  return static_cast<int32_t>(ceil_div(num_units, rounds));
}

// How many of its workers each kernel uses.
struct CoreSplit {
  int32_t few;
  int32_t many;
};

PAGODA_HD CoreSplit split_cores(const AttentionParams& params, const PlanConfig& few,
                                const PlanConfig& many, const BatchCost& few_cost,
                                const BatchCost& many_cost) {
  CoreSplit split{few.num_workers, many.num_workers};
  // Where decode is less than two thirds of prefill's work, all cores after prefill are quicker for
  // it than the few that it would be left; where tokens have scales, which keep its cores busy,
  // less than twice.
  const int64_t least = has_token_scales(params.kv) ? 2 * many_cost.cost : 2 * many_cost.cost / 3;
  if (few_cost.cost < least) return split;
  split.many = workers_beside(many.num_workers, many_cost.cost, few_cost.cost);
  if (many_cost.cost == 0) return split;
  split.many = workers_in_rounds(split.many, many_cost.num_units);
  const int32_t few_per_core = few.num_workers / many.num_workers;
  split.few = max_of(few_per_core * (many.num_workers - split.many), 1);
  return split;
}

}  // namespace pagoda

#endif  // PAGODA_PLAN_CORE_SPLIT_H_
