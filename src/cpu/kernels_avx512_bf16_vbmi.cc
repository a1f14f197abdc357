#include "cpu/kernels_impl.h"

namespace pagoda::cpu {

extern const Kernels kKernelsAvx512Bf16Vbmi;
constinit const Kernels kKernelsAvx512Bf16Vbmi = make_kernels("avx512_bf16_vbmi");

}  // namespace pagoda::cpu
