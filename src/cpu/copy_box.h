// Copies of boxes of one shape between two strided layouts: the layouts are compared once, and
// whatever lies together on both sides then moves in one piece.
#ifndef PAGODA_CPU_COPY_BOX_H_
#define PAGODA_CPU_COPY_BOX_H_

#include <cstdint>
#include <initializer_list>

#include "pagoda/types.h"

namespace pagoda::cpu {

// Strides in elements.
struct BoxAxis {
  int64_t extent;
  int64_t source_stride;
  int64_t destination_stride;
};

class BoxCopy {
 public:
  BoxCopy() = default;
  // Up to three axes in any order. No two elements of the destination share memory.
  BoxCopy(DType dtype, std::initializer_list<BoxAxis> axes);

  // Given the first element of each side. With `repeat`, an axis around the box.
  void run(const void* source, void* destination, const BoxAxis& repeat = {1, 0, 0}) const;

 private:
  void run_once(const char* source, char* destination) const;

  int64_t element_bytes_ = 0;
  int64_t run_bytes_ = 0;
  bool is_one_run_ = true;
  BoxAxis axes_[3] = {};  // outermost first, strides in bytes, unused ones in front
};

}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_COPY_BOX_H_
