// widen() and narrow() for one instruction set.
#ifndef PAGODA_CPU_CONVERT_RUN_IMPL_H_
#define PAGODA_CPU_CONVERT_RUN_IMPL_H_

#include "core/arith.h"
#include "core/dtype.h"
#include "cpu/convert_run.h"
#include "cpu/load_rows.h"
#include "cpu/simd.h"
#include "cpu/store_rows.h"

namespace pagoda::cpu {
namespace {

void widen_run(Elements source, int32_t count, float* values) {
  const int32_t whole = round_down(count, kLanes);
  visit_dtype(source.dtype, [&](auto type) {
    const auto* from = static_cast<const decltype(type)*>(source.data);
    for (int32_t i = 0; i < whole; i += kLanes) load_elements(from + i, kLanes).store(values + i);
  });
  for (int32_t i = whole; i < count; ++i) {
    values[i] = load_element(source.data, source.dtype, i);
  }
}

void narrow_run(const float* values, int32_t count, Elements destination) {
  const int32_t whole = round_down(count, kLanes);
  visit_dtype(destination.dtype, [&](auto type) {
    auto* to = static_cast<decltype(type)*>(destination.data);
    for (int32_t i = 0; i < whole; i += kLanes) store_elements(to + i, F32::load(values + i));
  });
  for (int32_t i = whole; i < count; ++i) {
    store_element(destination.data, destination.dtype, i, values[i]);
  }
}

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_CONVERT_RUN_IMPL_H_
