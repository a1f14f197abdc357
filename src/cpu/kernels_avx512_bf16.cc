#include "cpu/kernels_impl.h"

namespace pagoda::cpu {

extern const Kernels kKernelsAvx512Bf16;
constinit const Kernels kKernelsAvx512Bf16 = make_kernels("avx512_bf16");

}  // namespace pagoda::cpu
