// Tasks of a few rows of a unit that is cut, a warp for each row. Where a row has many partial
// results and its unit few rows, the warps divide them, and others take the other rows: loading
// takes a microsecond, however many are loaded at once. What is to be done is found beside the last
// attention CTAs, so that only the join itself is added to their time; the first CTAs have it, for
// they find room before the others.
#include "cuda/kernels/combine.h"

#include <span>

#include "cuda/kernels/launch.h"
#include "cuda/kernels/warp_row.cuh"
#include "cuda/sm90/ldst.cuh"
#include "cuda/sm90/sync.cuh"

namespace pagoda::cuda {
namespace {

constexpr int kTeamWarps = 8;  // on a task
constexpr int kTeams = 2;      // of a CTA, which takes half of an SM
constexpr int kThreads = 32 * kTeamWarps * kTeams;

// Bounds that may lie within a unit: where the shares of the first kernel's workers end, then of
// the second's.
PAGODA_HD int32_t num_cuts(const Works& works) {
  return works.of[0].config.num_workers + (works.count > 1 ? works.of[1].config.num_workers : 0);
}

// A unit, if share `cut` is the first that ends within it.
struct CutUnit {
  const Work& work;
  int32_t worker;  // the first that has a piece of the unit
  ShareBound bound;

  PAGODA_DEVICE CutUnit(const Works& works, int32_t cut)
      : CutUnit(works.of[cut < works.of[0].config.num_workers ? 0 : 1],
                cut < works.of[0].config.num_workers ? cut : cut - works.of[0].config.num_workers) {
  }

  PAGODA_DEVICE int32_t num_rows(const AttentionParams& params) const {
    return min_of(work.tile_rows, bound.shape.q_len * params.group - bound.row_begin);
  }
  // By one warp a row's partial results are joined one by one, as fixed splits always are:
  // attention kernels do that too where a unit is not cut.
  PAGODA_DEVICE bool is_divided(const AttentionParams& params) const {
    return work.config.policy != SplitPolicy::kFixed && bound.num_pieces > kTeamWarps &&
           num_rows(params) <= kTeamWarps;
  }
  PAGODA_DEVICE int32_t task_rows(const AttentionParams& params) const {
    return is_divided(params) ? 1 : kTeamWarps;
  }
  PAGODA_DEVICE int32_t num_tasks(const AttentionParams& params) const {
    return bound.first_worker == worker ? ceil_div(num_rows(params), task_rows(params)) : 0;
  }

 private:
  PAGODA_DEVICE CutUnit(const Work& its_work, int32_t its_worker)
      : work(its_work), worker(its_worker), bound(work.bounds[worker + 1]) {}
};

// A row and its softmax state.
template <int kHeadDim>
struct JoinedRow {
  WarpRow<kHeadDim> out;
  SoftmaxState state;

  PAGODA_DEVICE void add(const WarpRow<kHeadDim>& other_out, const SoftmaxState& other) {
    const SoftmaxJoin joined = join(state, other);
    state = joined.joined;
    out.scale_and_add(joined.a_factor, other_out, joined.b_factor);
  }
};

struct PartialRange {
  int32_t begin;
  int32_t end;
};

// Some partial results of one row, joined in key order. Joining is a chain, but loading is not:
// kBatch of them are under way at a time.
template <int kHeadDim>
PAGODA_DEVICE JoinedRow<kHeadDim> join_partials(const Rows& partials, const PartialPlaces& places,
                                                const PartialRange& range, int row) {
  constexpr int kBatch = kHeadDim <= 128 ? 8 : 2;
  const auto lane = static_cast<int32_t>(threadIdx.x % 32);
  JoinedRow<kHeadDim> joined;
#pragma unroll 1
  for (int32_t first = range.begin; first < range.end; first += kBatch) {
    const int32_t of_lane = min_of(first + lane, range.end - 1);
    const float2 state = sm90::load_l2_8(partials.state + places.row(of_lane) + row);
    WarpRow<kHeadDim> out[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int32_t partial = min_of(first + i, range.end - 1);
      out[i].load_global(partials.out + (places.row(partial) + row) * kHeadDim);
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (first + i >= range.end) break;
      joined.add(out[i],
                 {__shfl_sync(0xffffffffu, state.x, i), __shfl_sync(0xffffffffu, state.y, i)});
    }
  }
  return joined;
}

// What the warps of a team have of one row.
template <int kHeadDim>
struct DividedRow {
  alignas(16) float out[kTeamWarps][kHeadDim];
  SoftmaxState state[kTeamWarps];

  // All warps of the team call this; the first one has the row then.
  PAGODA_DEVICE void join(JoinedRow<kHeadDim>& row) {
    const auto warp = static_cast<int>(threadIdx.x / 32);
    const int rank = warp % kTeamWarps;
    const auto barrier = static_cast<uint32_t>(1 + warp / kTeamWarps);
    row.out.store(out[rank]);
    if (threadIdx.x % 32 == 0) state[rank] = row.state;
    sm90::named_barrier_sync(barrier, 32 * kTeamWarps);
    if (rank == 0) {
#pragma unroll 1
      for (int other = 1; other < kTeamWarps; ++other) {
        WarpRow<kHeadDim> theirs;
        theirs.load_shared(out[other]);
        row.add(theirs, state[other]);
      }
    }
    sm90::named_barrier_sync(barrier, 32 * kTeamWarps);
  }
};

template <int kHeadDim>
struct CombineSmem {
  DividedRow<kHeadDim> divided[kTeams];
  int32_t warp_tasks[kTeams * kTeamWarps];

  // [num_cuts]: tasks of the cuts so far
  PAGODA_DEVICE int32_t* task_end() { return reinterpret_cast<int32_t*>(this + 1); }
};

// Fills task_end; returns how many tasks there are.
template <int kHeadDim>
PAGODA_DEVICE int32_t count_tasks(const AttentionParams& params, const Works& works,
                                  CombineSmem<kHeadDim>& smem) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t count = num_cuts(works);
  int32_t total = 0;
#pragma unroll 1
  for (int32_t first = 0; first < count; first += kThreads) {
    const int32_t cut = first + thread;
    int32_t tasks = cut < count ? CutUnit(works, cut).num_tasks(params) : 0;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const int32_t before = __shfl_up_sync(0xffffffffu, tasks, step);
      if (thread % 32 >= step) tasks += before;
    }
    if (thread % 32 == 31) smem.warp_tasks[thread / 32] = tasks;
    __syncthreads();
    int32_t before = total;
#pragma unroll
    for (int warp = 0; warp < kTeams * kTeamWarps; ++warp) {
      if (warp < thread / 32) before += smem.warp_tasks[warp];
      total += smem.warp_tasks[warp];
    }
    if (cut < count) smem.task_end()[cut] = before + tasks;
    __syncthreads();
  }
  return total;
}

// The cut that task `task` belongs to: all lanes of a warp count those before it.
PAGODA_DEVICE int32_t cut_of(const int32_t* task_end, int32_t num_cuts, int32_t task) {
  int32_t before = 0;
#pragma unroll 1
  for (int32_t cut = static_cast<int32_t>(threadIdx.x % 32); cut < num_cuts; cut += 32) {
    before += task_end[cut] <= task ? 1 : 0;
  }
  return __reduce_add_sync(0xffffffffu, before);
}

template <int kHeadDim>
PAGODA_DEVICE void join_rows(const AttentionParams& params, const CutUnit& unit, int32_t first_row,
                             DividedRow<kHeadDim>& divided_row) {
  const auto rank = static_cast<int32_t>(threadIdx.x / 32 % kTeamWarps);
  const int32_t num_rows = unit.num_rows(params);
  const bool divided = unit.is_divided(params);
  const int32_t row = first_row + (divided ? 0 : rank);
  if (row >= num_rows) return;
  const Work& work = unit.work;
  const ShareBound& bound = unit.bound;
  int32_t num_partials = bound.num_pieces;
  if (work.config.policy == SplitPolicy::kFixed) {
    const KvRange visible =
        rows_visible(params, bound.shape, bound.row_begin, bound.row_begin + num_rows - 1);
    num_partials = tile_cells(SplitPolicy::kFixed, work.config.fixed_split_keys, visible).num_cells;
  }
  PartialRange range{0, num_partials};
  if (divided) {
    range = {num_partials * rank / kTeamWarps, num_partials * (rank + 1) / kTeamWarps};
  }
  const PartialPlaces places{unit.worker, work.tile_rows, work.cells_per_share};
  JoinedRow<kHeadDim> joined = join_partials<kHeadDim>(work.partials, places, range, row);
  if (divided) {
    divided_row.join(joined);
    if (rank != 0) return;
  }
  const ItemRows rows(params, bound.shape, bound.row_begin, num_rows);
  const float factor =
      finish_row(params, rows, bound.kv_head, row, joined.state, threadIdx.x % 32 == 0);
  joined.out.store_output(params, rows, bound.kv_head, row, factor);
}

template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, 2)
    combine_kernel(const __grid_constant__ AttentionParams params,
                   const __grid_constant__ Works works) {
  extern __shared__ __align__(16) uint8_t memory[];
  auto& smem = *reinterpret_cast<CombineSmem<kHeadDim>*>(memory);
  // In mixed steps, a next kernel's CTAs that find room one by one would be prefill's wherever
  // there is room first, not evenly spread.
  if (works.count == 1) sm90::launch_dependent_grids();
  // The plan was complete before the attention kernel let this one start.
  const int32_t num_tasks = count_tasks(params, works, smem);
  const auto num_ctas = static_cast<int32_t>(gridDim.x);
  const auto team = static_cast<int32_t>(threadIdx.x / (32 * kTeamWarps));
  for (auto task = static_cast<int32_t>(blockIdx.x) + num_ctas * team;; task += num_ctas * kTeams) {
    const bool is_task = task < num_tasks;
    const int32_t cut = is_task ? cut_of(smem.task_end(), num_cuts(works), task) : 0;
    const CutUnit unit(works, cut);
    const int32_t before = cut > 0 ? smem.task_end()[cut - 1] : 0;
    // All CTAs: this grid must not end before the attention kernel does.
    sm90::wait_for_previous_grids();
    if (!is_task) return;
    join_rows(params, unit, (task - before) * unit.task_rows(params), smem.divided[team]);
  }
}

template <int kHeadDim>
cudaError_t launch(const AttentionParams& params, const Works& works, cudaStream_t stream) {
  constexpr int32_t kRowsOfTeam = 64;  // prefill's units have twice as many
  int32_t num_teams = 0;
  for (const Work& work : std::span(works.of).first(static_cast<size_t>(works.count))) {
    num_teams += work.config.num_workers * ceil_div(work.tile_rows, kRowsOfTeam);
  }
  const auto ctas = static_cast<unsigned>(ceil_div(num_teams, kTeams));
  const size_t smem_bytes =
      sizeof(CombineSmem<kHeadDim>) + sizeof(int32_t) * static_cast<size_t>(num_cuts(works));
  return launch_dependent(combine_kernel<kHeadDim>,
                          {.ctas = dim3(ctas), .threads = kThreads, .smem_bytes = smem_bytes},
                          stream, params, works);
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
