// A page as a box of a few axes, in the largest units that can be moved at once.
#ifndef PAGODA_CUDA_PAGE_BOX_H_
#define PAGODA_CUDA_PAGE_BOX_H_

#include <cstdint>

#include "pagoda/types.h"

namespace pagoda::cuda {

struct BoxAxis {
  int64_t extent;
  int64_t source_stride;
  int64_t destination_stride;
};

constexpr int kPageAxes = 3;

// Strides count units. Axes are sorted by the destination's stride, outermost first; axes of one
// element are left out, and what lies without gaps in both pages is one axis.
struct PageBox {
  BoxAxis axes[kPageAxes];
  int32_t num_axes;
  int32_t unit_bytes;  // 1, 2, 4, 8 or 16
  int64_t source_page_stride;
  int64_t destination_page_stride;

  int64_t num_units() const {
    int64_t count = 1;
    for (int i = 0; i < num_axes; ++i) count *= axes[i].extent;
    return count;
  }
};

// Of [num_pages, page_size, num_kv_heads, head_dim], checked, not empty.
PageBox make_page_box(const TensorView& source, const TensorView& destination);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_PAGE_BOX_H_
