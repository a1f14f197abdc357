// The shapes that work is cut into, known to planner and kernels alike.
#ifndef PAGODA_PLAN_TILE_SHAPE_H_
#define PAGODA_PLAN_TILE_SHAPE_H_

#include <cstdint>

namespace pagoda {

// Splits begin at multiples of this many keys, whatever kernel runs them: on one absolute grid, so
// that a row meets the same tiles in every batch.
constexpr int32_t kSplitAlignKeys = 64;

// Two ways to run a sequence, chosen by its packed rows (query tokens x query heads per KV head).
enum class Route : int32_t {
  kFewRows = 0,   // decode and short verification: bound by reading K and V
  kManyRows = 1,  // prefill and chunks: bound by arithmetic
};
constexpr int kNumRoutes = 2;

struct RouteShape {
  int32_t tile_rows;       // packed rows of a row tile
  int32_t heads_per_item;  // KV heads that one item walks over
  // Cost of one key and KV head: ceil(rows / rows_per_unit) units.
  int32_t rows_per_unit;
  // A row tile is split into items of about this cost at least, where joining their rows costs more
  // than PlanConfig::min_share allows for.
  int64_t min_item_cost = 0;
};

}  // namespace pagoda

#endif  // PAGODA_PLAN_TILE_SHAPE_H_
