// A few CTAs for all pages: the bus to the host is what bounds, and a handful of SMs keep it busy.
// Units are numbered through all pages of a launch. A warp takes kThreadUnits per lane at a time,
// neighbours in one access, and has all of them under way at once.
#include "cuda/kernels/cache/swap_pages.h"

#include <algorithm>

#include "core/arith.h"
#include "cuda/kernels/cache/page_units.cuh"
#include "cuda/kernels/launch.h"
#include "cuda/sm90/sync.cuh"

namespace pagoda::cuda {
namespace {

constexpr uint32_t kThreadUnits = 8;
constexpr uint32_t kThreads = 512;
constexpr uint32_t kCtaUnits = kThreads * kThreadUnits;  // under way at once: 64 KB of 16-byte ones
// A bus of 55 GB/s whose reads take 2 us needs 110 KB under way. The rest is for warps that are at
// their stores or their offsets, and for smaller units.
constexpr uint32_t kMaxCtas = 8;

struct PagePair {
  int32_t source;
  int32_t destination;
};

constexpr int64_t kMaxLaunchPairs = 480;
constexpr int64_t kMaxLaunchUnits = 0x7fffffff;

// Pairs are parameters: the caller may change theirs after the call, and memory for a copy of them
// would have to be allocated.
struct SwapLaunch {
  PageBox box;
  const void* source;
  void* destination;
  uint32_t units_per_page;
  uint32_t num_units;
  PagePair pairs[kMaxLaunchPairs];
};
static_assert(sizeof(SwapLaunch) <= 4096, "kernel parameters, for every driver");

template <class Unit>
__global__ void __launch_bounds__(kThreads)
    swap_pages_kernel(const __grid_constant__ SwapLaunch launch) {
  sm90::wait_for_previous_grids();
  const auto* const source = static_cast<const Unit*>(launch.source);
  auto* const destination = static_cast<Unit*>(launch.destination);
  const uint32_t thread = blockIdx.x * kThreads + threadIdx.x;
  const uint32_t lane = thread % sm90::kWarpSize;
  for (uint32_t begin = (thread - lane) * kThreadUnits; begin < launch.num_units;
       begin += gridDim.x * kCtaUnits) {
    Unit units[kThreadUnits];
    Unit* to[kThreadUnits];
#pragma unroll
    for (uint32_t i = 0; i < kThreadUnits; ++i) {
      const uint32_t unit = begin + i * sm90::kWarpSize + lane;
      if (unit >= launch.num_units) continue;
      const PagePair& pair = launch.pairs[unit / launch.units_per_page];
      const UnitOffsets at(launch.box, unit % launch.units_per_page);
      units[i] = source[pair.source * launch.box.source_page_stride + at.source];
      to[i] = destination + pair.destination * launch.box.destination_page_stride + at.destination;
    }
#pragma unroll
    for (uint32_t i = 0; i < kThreadUnits; ++i) {
      if (begin + i * sm90::kWarpSize + lane < launch.num_units) *to[i] = units[i];
    }
  }
  // Not before: the next kernel's CTAs would hold their SMs for as long as the bus takes.
  sm90::launch_dependent_grids();
}

template <class Unit>
cudaError_t launch_all(const SwapParams& params, cudaStream_t stream) {
  const int64_t page_units = params.box.num_units();
  const int64_t most_pairs = std::min(kMaxLaunchPairs, kMaxLaunchUnits / page_units);
  SwapLaunch launch{.box = params.box,
                    .source = params.source,
                    .destination = params.destination,
                    .units_per_page = static_cast<uint32_t>(page_units),
                    .num_units = 0,
                    .pairs = {}};
  for (int64_t begin = 0; begin < params.num_pairs; begin += most_pairs) {
    const int64_t num_pairs = std::min(params.num_pairs - begin, most_pairs);
    for (int64_t i = 0; i < num_pairs; ++i) {
      const int64_t* pair = params.page_pairs + 2 * (begin + i);
      launch.pairs[i] = {static_cast<int32_t>(pair[0]), static_cast<int32_t>(pair[1])};
    }
    launch.num_units = static_cast<uint32_t>(num_pairs * page_units);
    const uint32_t ctas = std::min(kMaxCtas, ceil_div(launch.num_units, kCtaUnits));
    const cudaError_t error = launch_dependent(
        swap_pages_kernel<Unit>, {.ctas = dim3(ctas), .threads = kThreads, .smem_bytes = 0}, stream,
        launch);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t launch_swap_pages(const SwapParams& params, cudaStream_t stream) {
  return with_unit_of(params.box, [&]<class Unit>() { return launch_all<Unit>(params, stream); });
}

}  // namespace pagoda::cuda
