// One CTA plans the step. Row tiles are numbered through all sequences by a prefix sum; then each
// thread takes one tile at a time, finds its sequence by binary search, and prefix sums over what
// the tiles need tell where its items, merge group and partial rows go. The functions of one tile
// are the planner's own (plan/planner.h), so the lists equal the host's, in order and content.
#include "cuda/kernels/plan.h"

namespace pagoda::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / 32;

__device__ int32_t warp_inclusive_sum(int32_t x) {
  const int lane = threadIdx.x % 32;
  for (int step = 1; step < 32; step *= 2) {
    const int32_t other = __shfl_up_sync(0xffffffffu, x, step);
    if (lane >= step) x += other;
  }
  return x;
}

struct Prefix {
  int32_t before;  // sum over the threads before this one
  int32_t total;
};

// Sums over the CTA; all threads call it. `scratch` may be used again after the next barrier.
__device__ Prefix cta_prefix_sum(int32_t x, int32_t (&scratch)[kWarps]) {
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int32_t inclusive = warp_inclusive_sum(x);
  __syncthreads();
  if (lane == 31) scratch[warp] = inclusive;
  __syncthreads();
  if (warp == 0) scratch[lane] = warp_inclusive_sum(scratch[lane]);
  __syncthreads();
  const int32_t warps_before = warp == 0 ? 0 : scratch[warp - 1];
  return {warps_before + inclusive - x, scratch[kWarps - 1]};
}

__device__ int64_t cta_sum(int64_t x, int64_t (&scratch)[kWarps]) {
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  int64_t sum = 0;
  for (int64_t part : scratch) sum += part;
  return sum;
}

// The sequence that row tile `tile` belongs to: the last one with tile_begin <= tile.
__device__ int32_t find_sequence(const int32_t* tile_begin, int32_t num_seqs, int32_t tile) {
  int32_t low = 0;
  int32_t high = num_seqs;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    if (tile_begin[middle] <= tile) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

struct PlacedTile {
  int32_t seq;
  RowTile tile;
};

__device__ PlacedTile tile_at(const PlanConfig& config, const AttentionParams& params,
                              const int32_t* tile_begin, int32_t index) {
  const int32_t seq = find_sequence(tile_begin, params.num_seqs, index);
  const SequenceShape shape = sequence_shape(params, seq);
  const SequenceTiles tiles = sequence_tiles(config, params, shape);
  return {seq, row_tile(config, params, shape, tiles, index - tile_begin[seq])};
}

// Numbers the row tiles; returns how many there are.
__device__ int32_t number_tiles(const PlanConfig& config, const AttentionParams& params,
                                int32_t* tile_begin, int32_t (&scratch)[kWarps]) {
  int32_t total = 0;
  for (int32_t first = 0; first < params.num_seqs; first += kThreads) {
    const int32_t seq = first + static_cast<int32_t>(threadIdx.x);
    int32_t num_tiles = 0;
    if (seq < params.num_seqs) {
      num_tiles = sequence_tiles(config, params, sequence_shape(params, seq)).num_tiles;
    }
    const Prefix prefix = cta_prefix_sum(num_tiles, scratch);
    if (seq < params.num_seqs) tile_begin[seq] = total + prefix.before;
    total += prefix.total;
  }
  if (threadIdx.x == 0) tile_begin[params.num_seqs] = total;
  __syncthreads();
  return total;
}

__device__ void write_tile(const PlanConfig& config, const Work& work, const PlacedTile& placed,
                           const TileSplit& split, int32_t first_item, int32_t group,
                           int32_t partial_row) {
  const RowTile& tile = placed.tile;
  const bool is_split = split.num_partials > 0;
  if (is_split) {
    work.groups[group] = {placed.seq,    tile.kv_head, tile.num_kv_heads,  tile.row_begin,
                          tile.num_rows, partial_row,  split.num_partials, split.num_items};
    work.arrivals[group] = 0;
  }
  for (int32_t i = 0; i < split.num_items; ++i) {
    work.items[first_item + i] =
        work_item(config, tile, split, placed.seq, i, is_split ? group : -1, partial_row);
  }
}

__global__ void __launch_bounds__(kThreads)
    plan_kernel(const __grid_constant__ PlanConfig config,
                const __grid_constant__ AttentionParams params, const __grid_constant__ Work work) {
  __shared__ int32_t scratch[kWarps];
  __shared__ int64_t cost_scratch[kWarps];
  const int32_t num_tiles = number_tiles(config, params, work.tile_begin, scratch);

  int64_t cost = 0;
  for (int32_t t = threadIdx.x; t < num_tiles; t += kThreads) {
    cost += tile_at(config, params, work.tile_begin, t).tile.cost;
  }
  const int64_t share = fair_share(config, cta_sum(cost, cost_scratch));

  int32_t num_items = 0;
  int32_t num_groups = 0;
  int32_t num_partial_rows = 0;
  for (int32_t first = 0; first < num_tiles; first += kThreads) {
    const int32_t t = first + static_cast<int32_t>(threadIdx.x);
    PlacedTile placed{};
    TileSplit split{};
    if (t < num_tiles) {
      placed = tile_at(config, params, work.tile_begin, t);
      split = split_tile(config, placed.tile, share);
    }
    const int32_t partial_rows =
        split.num_partials * placed.tile.num_kv_heads * placed.tile.num_rows;
    const Prefix items = cta_prefix_sum(split.num_items, scratch);
    const Prefix groups = cta_prefix_sum(split.num_partials > 0 ? 1 : 0, scratch);
    const Prefix rows = cta_prefix_sum(partial_rows, scratch);
    if (t < num_tiles) {
      write_tile(config, work, placed, split, num_items + items.before, num_groups + groups.before,
                 num_partial_rows + rows.before);
    }
    num_items += items.total;
    num_groups += groups.total;
    num_partial_rows += rows.total;
  }
  if (threadIdx.x == 0) *work.header = {num_items, num_groups, num_partial_rows, 0, 0};
}

}  // namespace

cudaError_t launch_plan_kernel(const PlanConfig& config, const AttentionParams& params,
                               const Work& work, cudaStream_t stream) {
  plan_kernel<<<1, kThreads, 0, stream>>>(config, params, work);
  return cudaGetLastError();
}

}  // namespace pagoda::cuda
