// A CTA for every worker whose share ends within a unit that no worker before it has a piece of,
// and for every few rows of that unit; a warp for each row. It starts beside the last attention
// CTAs, so that only the join itself is added to their time.
#include "cuda/kernels/combine.h"

#include "cuda/kernels/launch.h"
#include "cuda/kernels/warp_row.cuh"
#include "cuda/sm90/sync.cuh"

namespace pagoda::cuda {
namespace {

constexpr int kWarps = 4;
// Rows that a CTA joins, one after the other in each warp.
constexpr int kCtaRows = 16;

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
__global__ void __launch_bounds__(32 * kWarps)
    combine_kernel(const __grid_constant__ AttentionParams params,
                   const __grid_constant__ Works works) {
  auto worker = static_cast<int32_t>(blockIdx.x);
  const bool is_second = worker >= works.of[0].config.num_workers;
  if (is_second) worker -= works.of[0].config.num_workers;
  const Work& work = works.of[is_second ? 1 : 0];
  // The plan was complete before the attention kernel let this one start.
  const ShareBound& bound = work.bounds[worker + 1];
  const bool is_mine = bound.first_worker == worker;
  // All CTAs: this grid must not end before the attention kernel does.
  sm90::wait_for_previous_grids();
  sm90::launch_dependent_grids();
  if (!is_mine) return;

  const SequenceShape shape = bound.shape;
  const int32_t num_rows = min_of(work.tile_rows, shape.q_len * params.group - bound.row_begin);
  const ItemRows rows(params, shape, bound.row_begin, num_rows);
  int32_t num_partials = bound.num_pieces;
  if (work.config.policy == SplitPolicy::kFixed) {
    const KvRange visible =
        rows_visible(params, shape, bound.row_begin, bound.row_begin + num_rows - 1);
    num_partials = tile_cells(SplitPolicy::kFixed, work.config.fixed_split_keys, visible).num_cells;
  }
  const PartialPlaces places{worker, work.tile_rows, work.cells_per_share};
  const int end = min_of(static_cast<int>(blockIdx.y + 1) * kCtaRows, num_rows);
  for (int row = static_cast<int>(blockIdx.y * kCtaRows + threadIdx.x / 32); row < end;
       row += kWarps) {
    const PartialsJoin<kHeadDim> joined(work.partials, places, num_partials, row);
    const float factor =
        finish_row(params, rows, bound.kv_head, row, joined.state, threadIdx.x % 32 == 0);
    joined.out.store_output(params, rows, bound.kv_head, row, factor);
  }
}

template <int kHeadDim>
cudaError_t launch(const AttentionParams& params, const Works& works, cudaStream_t stream) {
  int32_t num_workers = 0;
  int32_t most_rows = 1;
  for (int32_t i = 0; i < works.count; ++i) {
    num_workers += works.of[i].config.num_workers;
    most_rows = max_of(most_rows, works.of[i].tile_rows);
  }
  most_rows = min_of(most_rows, max_of(params.max_seqlen_q * params.group, 1));
  const dim3 ctas(static_cast<unsigned>(num_workers),
                  static_cast<unsigned>(ceil_div(most_rows, kCtaRows)));
  return launch_dependent(combine_kernel<kHeadDim>,
                          {.ctas = ctas, .threads = 32 * kWarps, .smem_bytes = 0}, stream, params,
                          works);
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
