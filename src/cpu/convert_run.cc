#include "cpu/convert_run.h"

#include "cpu/kernel_table.h"

namespace pagoda::cpu {

void widen(Elements source, int32_t count, float* values) {
  kernels().widen(source, count, values);
}

void narrow(const float* values, int32_t count, Elements destination) {
  kernels().narrow(values, count, destination);
}

}  // namespace pagoda::cpu
