#include "cuda/page_box.h"

#include <algorithm>

namespace pagoda::cuda {
namespace {

constexpr int64_t kMaxUnitBytes = 16;

bool is_innermost(const BoxAxis& axis) {
  return axis.source_stride == 1 && axis.destination_stride == 1;
}

// Adds the axis that lies inside all that the box has.
void append(const BoxAxis& axis, PageBox* box) {
  if (axis.extent == 1) return;
  if (box->num_axes > 0) {
    BoxAxis& outer = box->axes[box->num_axes - 1];
    if (outer.source_stride == axis.extent * axis.source_stride &&
        outer.destination_stride == axis.extent * axis.destination_stride) {
      outer = {outer.extent * axis.extent, axis.source_stride, axis.destination_stride};
      return;
    }
  }
  box->axes[box->num_axes++] = axis;
}

// Whether two units of the box can be one.
bool can_widen(const PageBox& box, const void* source, const void* destination) {
  if (box.num_axes == 0 || !is_innermost(box.axes[box.num_axes - 1])) return false;
  int64_t all = box.axes[box.num_axes - 1].extent;
  all |= box.source_page_stride | box.destination_page_stride;
  for (int i = 0; i + 1 < box.num_axes; ++i) {
    all |= box.axes[i].source_stride | box.axes[i].destination_stride;
  }
  const auto addresses =
      reinterpret_cast<uintptr_t>(source) | reinterpret_cast<uintptr_t>(destination);
  const int64_t wide = 2 * box.unit_bytes;
  return all % 2 == 0 && wide <= kMaxUnitBytes && addresses % static_cast<uintptr_t>(wide) == 0;
}

void widen(PageBox* box) {
  box->unit_bytes *= 2;
  box->source_page_stride /= 2;
  box->destination_page_stride /= 2;
  for (int i = 0; i + 1 < box->num_axes; ++i) {
    box->axes[i].source_stride /= 2;
    box->axes[i].destination_stride /= 2;
  }
  BoxAxis& last = box->axes[box->num_axes - 1];
  last.extent /= 2;
  if (last.extent == 1) --box->num_axes;
}

}  // namespace

PageBox make_page_box(const TensorView& source, const TensorView& destination) {
  BoxAxis axes[kPageAxes];
  for (int i = 0; i < kPageAxes; ++i) {
    axes[i] = {source.shape[i + 1], source.stride[i + 1], destination.stride[i + 1]};
  }
  std::stable_sort(axes, axes + kPageAxes, [](const BoxAxis& a, const BoxAxis& b) {
    return a.destination_stride > b.destination_stride;
  });
  // The only page is number 0, whatever its stride.
  PageBox box{.axes = {},
              .num_axes = 0,
              .unit_bytes = static_cast<int32_t>(size_of(source.dtype)),
              .source_page_stride = source.shape[0] > 1 ? source.stride[0] : 0,
              .destination_page_stride = destination.shape[0] > 1 ? destination.stride[0] : 0};
  for (const BoxAxis& axis : axes) append(axis, &box);
  while (can_widen(box, source.data, destination.data)) widen(&box);
  return box;
}

}  // namespace pagoda::cuda
