#include "cpu/kernels_impl.h"

namespace pagoda::cpu {

extern const Kernels kKernelsAvx512;
constinit const Kernels kKernelsAvx512 = make_kernels("avx512");

}  // namespace pagoda::cpu
