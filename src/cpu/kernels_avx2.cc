#include "cpu/kernels_impl.h"

namespace pagoda::cpu {

extern const Kernels kKernelsAvx2;
constinit const Kernels kKernelsAvx2 = make_kernels("avx2");

}  // namespace pagoda::cpu
