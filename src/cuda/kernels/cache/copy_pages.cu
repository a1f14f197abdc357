// A few CTAs for each pair of pages; a thread copies kThreadUnits units, all under way at once.
#include "cuda/kernels/cache/copy_pages.h"

#include <algorithm>

#include "core/arith.h"
#include "cuda/kernels/cache/page_units.cuh"
#include "cuda/kernels/launch.h"
#include "cuda/sm90/sync.cuh"

namespace pagoda::cuda {
namespace {

constexpr int kThreadUnits = 4;
constexpr uint32_t kMaxThreads = 256;
static_assert(kThreadUnits * kMaxThreads == kMinCopyCtaUnits);

struct CopyGrid {
  uint32_t units_per_page;
  uint32_t ctas_per_page;
};

template <class Unit>
__global__ void __launch_bounds__(kMaxThreads)
    copy_pages_kernel(const __grid_constant__ CopyParams params,
                      const __grid_constant__ CopyGrid grid) {
  sm90::wait_for_previous_grids();
  sm90::launch_dependent_grids();
  const uint32_t pair = blockIdx.x / grid.ctas_per_page;
  const uint32_t part = blockIdx.x % grid.ctas_per_page;
  const int64_t* pages = params.page_pairs + 2 * int64_t{pair};
  const Unit* const source =
      static_cast<const Unit*>(params.source) + pages[0] * params.box.source_page_stride;
  Unit* const destination =
      static_cast<Unit*>(params.destination) + pages[1] * params.box.destination_page_stride;

  const uint32_t first = part * blockDim.x * kThreadUnits + threadIdx.x;
  Unit units[kThreadUnits];
#pragma unroll
  for (uint32_t i = 0; i < kThreadUnits; ++i) {
    const uint32_t unit = first + i * blockDim.x;
    if (unit < grid.units_per_page) units[i] = source[UnitOffsets(params.box, unit).source];
  }
#pragma unroll
  for (uint32_t i = 0; i < kThreadUnits; ++i) {
    const uint32_t unit = first + i * blockDim.x;
    if (unit < grid.units_per_page) {
      destination[UnitOffsets(params.box, unit).destination] = units[i];
    }
  }
}

template <class Unit>
cudaError_t launch(const CopyParams& params, cudaStream_t stream) {
  const auto units = static_cast<uint32_t>(params.box.num_units());
  // Whole warps, and no more of them than a page has work for.
  const uint32_t threads =
      std::min(kMaxThreads, round_up<uint32_t>(ceil_div<uint32_t>(units, kThreadUnits), 32));
  const CopyGrid grid{units, ceil_div(units, threads * kThreadUnits)};
  const auto ctas = static_cast<uint32_t>(params.num_pairs) * grid.ctas_per_page;
  return launch_dependent(copy_pages_kernel<Unit>,
                          {.ctas = dim3(ctas), .threads = threads, .smem_bytes = 0}, stream, params,
                          grid);
}

}  // namespace

cudaError_t launch_copy_pages(const CopyParams& params, cudaStream_t stream) {
  return with_unit_of(params.box, [&]<class Unit>() { return launch<Unit>(params, stream); });
}

}  // namespace pagoda::cuda
