// Prefix sums over the batch's row tiles and their costs, then each thread finds bounds between
// shares by binary search. A few CTAs divide the bounds; the sums each makes for itself, which is
// quicker than telling the others. Everything that decides is the host's too (src/plan).
#include "cuda/kernels/launch.h"
#include "cuda/kernels/plan.h"
#include "cuda/sm90/sync.cuh"
#include "plan/core_split.h"
#include "plan/kv_conversion.h"
#include "plan/unit_queue.h"

namespace pagoda::cuda {
namespace {

constexpr int kCtas = 8;
constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;
// What shared memory holds; for larger batches one CTA works in the workspace.
constexpr int kMaxSmemSeqs = 2047;
constexpr int kMaxSmemTiles = 3071;

template <class T>
__device__ T warp_inclusive_sum(T x) {
  const int lane = threadIdx.x % 32;
  for (int step = 1; step < 32; step *= 2) {
    const T other = __shfl_up_sync(0xffffffffu, x, step);
    if (lane >= step) x += other;
  }
  return x;
}

template <class T>
struct Prefix {
  T before;  // sum over the threads before this one
  T total;
};

// Sums over the CTA; all threads call it. `scratch` may be used again after the next barrier.
template <class T>
__device__ Prefix<T> cta_prefix_sum(T x, T (&scratch)[kWarps]) {
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const T inclusive = warp_inclusive_sum(x);
  if (lane == 31) scratch[warp] = inclusive;
  __syncthreads();
  const T warps = warp_inclusive_sum(lane < kWarps ? scratch[lane] : T{0});
  const T warps_before = __shfl_sync(0xffffffffu, warps, warp == 0 ? 0 : warp - 1);
  const T total = __shfl_sync(0xffffffffu, warps, kWarps - 1);
  __syncthreads();
  return {(warp == 0 ? T{0} : warps_before) + inclusive - x, total};
}

// begin[i] = value(0) + ... + value(i - 1) for i in 0 ... count; returns begin[count]. All threads
// of the CTA call it and see the result.
template <class T, class Value>
__device__ T prefix_sums(int32_t count, T* begin, T (&scratch)[kWarps], Value&& value) {
  T total = 0;
  for (int32_t first = 0; first < count; first += kThreads) {
    const int32_t i = first + static_cast<int32_t>(threadIdx.x);
    const Prefix<T> prefix = cta_prefix_sum(i < count ? value(i) : T{0}, scratch);
    if (i < count) begin[i] = total + prefix.before;
    total += prefix.total;
  }
  if (threadIdx.x == 0) begin[count] = total;
  __syncthreads();
  return total;
}

__device__ int64_t cta_max(int64_t x, int64_t (&scratch)[kWarps]) {
  for (int step = 16; step > 0; step /= 2) x = max_of(x, __shfl_xor_sync(0xffffffffu, x, step));
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  for (const int64_t other : scratch) x = max_of(x, other);
  return x;
}

__device__ BatchCost batch_cost(const PlanConfig& config, const AttentionParams& params,
                                int64_t (&scratch)[kWarps]) {
  BatchCost cost{};
  for (int32_t seq = static_cast<int32_t>(threadIdx.x); seq < params.num_seqs; seq += kThreads) {
    cost += sequence_cost(config, params, sequence_shape(params, seq));
  }
  return {cta_prefix_sum(cost.cost, scratch).total, cta_prefix_sum(cost.num_units, scratch).total};
}

// How many of its workers a kernel uses if the step has two.
__device__ int32_t workers_of(const Works& works, int32_t index, const AttentionParams& params,
                              int64_t (&scratch)[kWarps]) {
  const PlanConfig& few = works.of[0].config;
  const PlanConfig& many = works.of[1].config;
  const BatchCost few_cost = batch_cost(few, params, scratch);
  const BatchCost many_cost = batch_cost(many, params, scratch);
  const CoreSplit split = split_cores(params, few, many, few_cost, many_cost);
  return index == 0 ? split.few : split.many;
}

// Unit `index` of the queue, if there are so many.
__device__ ShareBound first_unit(const AttentionParams& params, const int32_t* tile_begin,
                                 int32_t tile_rows, int32_t index, int32_t num_units) {
  if (index >= num_units) return end_bound(num_units);
  const int32_t seq =
      last_not_above(tile_begin, params.num_seqs, queued_tile(params, num_units, index));
  return queued_unit(params, sequence_shape(params, seq), tile_begin[seq], tile_begin[seq + 1],
                     tile_rows, num_units, index);
}

// Where sequences' converted keys lie.
__device__ void plan_conversion(const AttentionParams& params, const ConvertedKv& converted,
                                int32_t (&scratch)[kWarps]) {
  prefix_sums(params.num_seqs, converted.tile_begin, scratch, [&](int32_t seq) {
    return converted_keys(params, sequence_shape(params, seq)).num_tiles;
  });
}

__global__ void __launch_bounds__(kThreads)
    plan_kernel(const __grid_constant__ AttentionParams params,
                const __grid_constant__ Works works) {
  __shared__ int32_t smem_tile_begin[kMaxSmemSeqs + 1];
  __shared__ int64_t smem_cost_begin[kMaxSmemTiles + 1];
  __shared__ int32_t tile_scratch[kWarps];
  __shared__ int64_t cost_scratch[kWarps];
  if (static_cast<int32_t>(blockIdx.y) == works.count) {
    sm90::wait_for_previous_grids();
    sm90::launch_dependent_grids();
    if (blockIdx.x == 0) plan_conversion(params, works.last().converted, tile_scratch);
    return;
  }
  const Work& work = works.of[blockIdx.y];
  PlanConfig config = work.config;
  sm90::wait_for_previous_grids();
  sm90::launch_dependent_grids();

  const bool many_seqs = params.num_seqs > kMaxSmemSeqs;
  if (many_seqs && blockIdx.x > 0) return;
  int32_t* tile_begin = many_seqs ? work.tile_begin : smem_tile_begin;
  const int32_t num_tiles = prefix_sums(
      params.num_seqs, tile_begin, tile_scratch,
      [&](int32_t seq) { return num_row_tiles(config, params, sequence_shape(params, seq)); });
  const bool many_tiles = num_tiles > kMaxSmemTiles;
  if (many_tiles && blockIdx.x > 0) return;
  int64_t* cost_begin = many_tiles ? work.cost_begin : smem_cost_begin;
  int64_t largest_unit = 0;
  const int64_t total = prefix_sums(num_tiles, cost_begin, cost_scratch, [&](int32_t tile) {
    const int64_t cost = placed_tile(config, params, tile_begin, tile).tile.cost;
    largest_unit = max_of(largest_unit, cost);
    return cost * params.num_kv_heads;
  });
  largest_unit = cta_max(largest_unit, cost_scratch);
  if (works.count > 1) {
    __syncthreads();
    config.num_workers = workers_of(works, static_cast<int32_t>(blockIdx.y), params, cost_scratch);
  }

  const CostLine line{tile_begin, cost_begin, params.num_seqs};
  const int32_t num_units = num_tiles * params.num_kv_heads;
  const bool queued = whole_units_pay(config, total, largest_unit, num_units);
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    *work.queue = {queued ? num_units : 0, config.num_workers, config.num_workers, 0};
  }
  if (queued && !many_seqs) {
    for (int32_t seq = static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x);
         seq <= params.num_seqs; seq += kCtas * kThreads) {
      work.tile_begin[seq] = tile_begin[seq];
    }
  }
  const int64_t share = share_length(config, total, largest_unit, num_units);
  const int32_t num_threads = many_seqs || many_tiles ? kThreads : kCtas * kThreads;
  for (int32_t w = static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x);
       w <= work.config.num_workers; w += num_threads) {
    work.bounds[w] = queued ? first_unit(params, tile_begin, work.tile_rows,
                                         w < config.num_workers ? w : num_units, num_units)
                            : share_bound(config, params, line, share, w);
  }
}

}  // namespace

cudaError_t launch_plan_kernel(const AttentionParams& params, const Works& works,
                               cudaStream_t stream) {
  const bool converts = works.last().converted.capacity > 0;
  const dim3 ctas(kCtas, static_cast<unsigned>(works.count + (converts ? 1 : 0)));
  return launch_dependent(plan_kernel, {.ctas = ctas, .threads = kThreads, .smem_bytes = 0}, stream,
                          params, works);
}

}  // namespace pagoda::cuda
