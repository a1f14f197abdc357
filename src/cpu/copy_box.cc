#include "cpu/copy_box.h"

#include <cstring>

namespace pagoda::cpu {
namespace {

// Whether the outer axis goes on where the inner one ends, on both sides.
bool continues(const BoxAxis& outer, const BoxAxis& inner) {
  return outer.source_stride == inner.source_stride * inner.extent &&
         outer.destination_stride == inner.destination_stride * inner.extent;
}

}  // namespace

BoxCopy::BoxCopy(DType dtype, std::initializer_list<BoxAxis> axes) {
  const auto element = static_cast<int64_t>(size_of(dtype));
  BoxAxis sorted[3] = {};  // innermost first
  int count = 0;
  for (const BoxAxis& axis : axes) {
    if (axis.extent == 1) continue;
    int i = count++;
    for (; i > 0 && sorted[i - 1].destination_stride > axis.destination_stride * element; --i) {
      sorted[i] = sorted[i - 1];
    }
    sorted[i] = {axis.extent, axis.source_stride * element, axis.destination_stride * element};
  }
  // From the innermost axis on, an axis joins the one below it or begins a new one.
  BoxAxis merged[4] = {{element, 1, 1}};
  int last = 0;
  for (int i = 0; i < count; ++i) {
    if (continues(sorted[i], merged[last])) {
      merged[last].extent *= sorted[i].extent;
    } else {
      merged[++last] = sorted[i];
    }
  }
  element_bytes_ = element;
  run_bytes_ = merged[0].extent;
  is_one_run_ = last == 0;
  for (int i = 0; i < 3; ++i) axes_[2 - i] = i < last ? merged[i + 1] : BoxAxis{1, 0, 0};
}

void BoxCopy::run(const void* source, void* destination, const BoxAxis& repeat) const {
  const auto* from = static_cast<const char*>(source);
  auto* to = static_cast<char*>(destination);
  const int64_t source_step = repeat.source_stride * element_bytes_;
  const int64_t destination_step = repeat.destination_stride * element_bytes_;
  if (is_one_run_ && source_step == run_bytes_ && destination_step == run_bytes_) {
    std::memcpy(to, from, static_cast<size_t>(run_bytes_ * repeat.extent));
    return;
  }
  for (int64_t i = 0; i < repeat.extent; ++i) {
    run_once(from + i * source_step, to + i * destination_step);
  }
}

void BoxCopy::run_once(const char* source, char* destination) const {
  const auto& [outer, middle, inner] = axes_;
  for (int64_t i = 0; i < outer.extent; ++i) {
    for (int64_t j = 0; j < middle.extent; ++j) {
      const char* from = source + i * outer.source_stride + j * middle.source_stride;
      char* to = destination + i * outer.destination_stride + j * middle.destination_stride;
      for (int64_t k = 0; k < inner.extent; ++k) {
        std::memcpy(to + k * inner.destination_stride, from + k * inner.source_stride,
                    static_cast<size_t>(run_bytes_));
      }
    }
  }
}

}  // namespace pagoda::cpu
