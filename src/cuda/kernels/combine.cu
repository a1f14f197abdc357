// A task for every few rows of every unit that is cut; a warp for each row. What is cut is known
// beside the last attention CTAs, so that only the join itself is added to their time.
#include "cuda/kernels/combine.h"

#include "cuda/kernels/launch.h"
#include "cuda/kernels/warp_row.cuh"
#include "cuda/sm90/sync.cuh"

namespace pagoda::cuda {
namespace {

constexpr int kWarps = 8;

// Tasks of the first kernel's units, then of the second's. Of each the first rows of all workers'
// units come first, for most have no others; and most tasks find nothing to join.
struct TaskGrid {
  int32_t begin_of_second;
  int32_t count;
};

TaskGrid task_grid(const AttentionParams& params, const Works& works) {
  TaskGrid grid{};
  for (int32_t i = 0; i < works.count; ++i) {
    const Work& work = works.of[i];
    const int32_t rows = clamp_to(params.max_seqlen_q * params.group, 1, work.tile_rows);
    grid.begin_of_second = grid.count;
    grid.count += ceil_div(rows, kWarps) * work.config.num_workers;
  }
  if (works.count == 1) grid.begin_of_second = grid.count;
  return grid;
}

struct Task {
  const Work& work;
  int32_t worker;  // the first that has a piece of the unit
  int32_t first_row;
  ShareBound bound;  // where its share ends: within the unit, if this is a task at all

  PAGODA_DEVICE Task(const Works& works, const TaskGrid& grid, int32_t index)
      : Task(index < grid.begin_of_second ? works.of[0] : works.of[1],
             index < grid.begin_of_second ? index : index - grid.begin_of_second) {}

  PAGODA_DEVICE int32_t num_rows(const AttentionParams& params) const {
    return min_of(work.tile_rows, bound.shape.q_len * params.group - bound.row_begin);
  }
  PAGODA_DEVICE bool is_one(const AttentionParams& params) const {
    return bound.first_worker == worker && first_row < num_rows(params);
  }

 private:
  PAGODA_DEVICE Task(const Work& its_work, int32_t index)
      : work(its_work),
        worker(index % work.config.num_workers),
        first_row(index / work.config.num_workers * kWarps),
        bound(work.bounds[worker + 1]) {}
};

// One row of all partial results, joined in key order. Joining is a chain, but loading is not: the
// next kBatch partials are always under way.
template <int kHeadDim>
class PartialsJoin {
 public:
  WarpRow<kHeadDim> out;
  SoftmaxState state;

  PAGODA_DEVICE PartialsJoin(const Rows& partials, const PartialPlaces& places,
                             int32_t num_partials, int row) {
    Batch next;
    next.load(partials, places, num_partials, 0, row);
#pragma unroll 1
    for (int32_t i = 0; i < num_partials; i += kBatch) {
      const Batch batch = next;
      if (i + kBatch < num_partials) next.load(partials, places, num_partials, i + kBatch, row);
#pragma unroll
      for (int j = 0; j < kBatch; ++j) {
        if (i + j >= num_partials) break;
        const SoftmaxJoin joined = join(state, batch.state[j]);
        state = joined.joined;
        out.scale_and_add(joined.a_factor, batch.out[j], joined.b_factor);
      }
    }
  }

 private:
  static constexpr int kBatch = kHeadDim <= 128 ? 8 : 4;

  struct Batch {
    WarpRow<kHeadDim> out[kBatch];
    SoftmaxState state[kBatch];

    PAGODA_DEVICE void load(const Rows& partials, const PartialPlaces& places, int32_t num_partials,
                            int32_t first, int row) {
#pragma unroll
      for (int j = 0; j < kBatch; ++j) {
        const int64_t at = places.row(min_of(first + j, num_partials - 1)) + row;
        out[j].load_global(partials.out + at * kHeadDim);
        const float2 pair = sm90::load_l2_8(partials.state + at);
        state[j] = {pair.x, pair.y};
      }
    }
  };
};

template <int kHeadDim>
PAGODA_DEVICE void join_rows(const AttentionParams& params, const Task& task) {
  const int32_t num_rows = task.num_rows(params);
  const int32_t row = task.first_row + static_cast<int32_t>(threadIdx.x / 32);
  if (row >= num_rows) return;
  const Work& work = task.work;
  const ShareBound& bound = task.bound;
  int32_t num_partials = bound.num_pieces;
  if (work.config.policy == SplitPolicy::kFixed) {
    const KvRange visible =
        rows_visible(params, bound.shape, bound.row_begin, bound.row_begin + num_rows - 1);
    num_partials = tile_cells(SplitPolicy::kFixed, work.config.fixed_split_keys, visible).num_cells;
  }
  const PartialPlaces places{task.worker, work.tile_rows, work.cells_per_share};
  const PartialsJoin<kHeadDim> joined(work.partials, places, num_partials, row);
  const ItemRows rows(params, bound.shape, bound.row_begin, num_rows);
  const float factor =
      finish_row(params, rows, bound.kv_head, row, joined.state, threadIdx.x % 32 == 0);
  joined.out.store_output(params, rows, bound.kv_head, row, factor);
}

template <int kHeadDim>
__global__ void __launch_bounds__(32 * kWarps)
    combine_kernel(const __grid_constant__ AttentionParams params,
                   const __grid_constant__ Works works, const __grid_constant__ TaskGrid grid) {
  const auto num_ctas = static_cast<int32_t>(gridDim.x);
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  for (auto first = static_cast<int32_t>(blockIdx.x); first < grid.count; first += 32 * num_ctas) {
    const int32_t candidate = first + lane * num_ctas;
    // The plan was complete before the attention kernel let this one start.
    const Task mine(works, grid, min_of(candidate, grid.count - 1));
    // All CTAs: this grid must not end before the attention kernel does.
    sm90::wait_for_previous_grids();
    sm90::launch_dependent_grids();
    uint32_t left = __ballot_sync(0xffffffffu, candidate < grid.count && mine.is_one(params));
    for (; left != 0; left &= left - 1) {
      join_rows<kHeadDim>(
          params, Task(works, grid, first + (__ffs(static_cast<int>(left)) - 1) * num_ctas));
    }
  }
}

template <int kHeadDim>
cudaError_t launch(const AttentionParams& params, const Works& works, cudaStream_t stream) {
  const TaskGrid grid = task_grid(params, works);
  // One less than a multiple of the workers, so that a unit's tasks go to neighbouring CTAs, not
  // all to one.
  const auto ctas =
      static_cast<unsigned>(min_of(2 * works.of[0].config.num_workers - 1, grid.count));
  return launch_dependent(combine_kernel<kHeadDim>,
                          {.ctas = dim3(ctas), .threads = 32 * kWarps, .smem_bytes = 0}, stream,
                          params, works, grid);
}

}  // namespace

cudaError_t launch_combine_kernel(const AttentionParams& params, const Works& works,
                                  int32_t head_dim, cudaStream_t stream) {
  switch (head_dim) {
    case 64:
      return launch<64>(params, works, stream);
    case 128:
      return launch<128>(params, works, stream);
    default:
      return launch<256>(params, works, stream);
  }
}

}  // namespace pagoda::cuda
