// Runs of elements of any float or quantised type, to f32 and back.
#ifndef PAGODA_CPU_CONVERT_RUN_H_
#define PAGODA_CPU_CONVERT_RUN_H_

#include <cstdint>

#include "core/portability.h"
#include "pagoda/types.h"

namespace pagoda::cpu {

// Elements that lie one after another.
struct Elements {
  void* data;
  DType dtype;

  PAGODA_HD Elements at(int64_t offset) const {
    return {static_cast<char*>(data) + offset * static_cast<int64_t>(size_of(dtype)), dtype};
  }
};

// Rows are worked on in runs of this many f32: whole vectors, and a few runs fit in L1.
constexpr int32_t kRunElements = 256;

// Exact.
void widen(Elements source, int32_t count, float* values);

// To nearest even; 8-bit types saturate.
void narrow(const float* values, int32_t count, Elements destination);

}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_CONVERT_RUN_H_
