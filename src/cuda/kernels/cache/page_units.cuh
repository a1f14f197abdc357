// The units that a page is copied in: their types, and where each lies in both pages.
#ifndef PAGODA_CUDA_KERNELS_CACHE_PAGE_UNITS_CUH_
#define PAGODA_CUDA_KERNELS_CACHE_PAGE_UNITS_CUH_

#include <cuda_runtime_api.h>

#include "cuda/page_box.h"
#include "cuda/sm90/device.cuh"

namespace pagoda::cuda {

// The largest unit that is moved at once.
struct alignas(16) Unit16 {
  uint32_t words[4];
};

// Where the unit lies in both pages, in units.
struct UnitOffsets {
  int64_t source;
  int64_t destination;

  PAGODA_DEVICE UnitOffsets(const PageBox& box, uint32_t unit) : source(0), destination(0) {
#pragma unroll
    for (int i = kPageAxes - 1; i >= 0; --i) {
      if (i >= box.num_axes) continue;
      const BoxAxis& axis = box.axes[i];
      uint32_t at = unit;
      if (i > 0) {
        const auto extent = static_cast<uint32_t>(axis.extent);
        at = unit % extent;
        unit /= extent;
      }
      source += at * axis.source_stride;
      destination += at * axis.destination_stride;
    }
  }
};

// Calls launch<Unit>() with the type of the box's units.
template <class Launch>
cudaError_t with_unit_of(const PageBox& box, const Launch& launch) {
  switch (box.unit_bytes) {
    case 16:
      return launch.template operator()<Unit16>();
    case 8:
      return launch.template operator()<uint64_t>();
    case 4:
      return launch.template operator()<uint32_t>();
    case 2:
      return launch.template operator()<uint16_t>();
    default:
      return launch.template operator()<uint8_t>();
  }
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_CACHE_PAGE_UNITS_CUH_
