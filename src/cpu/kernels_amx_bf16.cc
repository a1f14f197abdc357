#include "cpu/kernels_impl.h"

namespace pagoda::cpu {

extern const Kernels kKernelsAmxBf16;
constinit const Kernels kKernelsAmxBf16 = make_kernels("amx_bf16");

}  // namespace pagoda::cpu
