#include "cpu/kernels_impl.h"

namespace pagoda::cpu {

extern const Kernels kKernelsPortable;
constinit const Kernels kKernelsPortable = make_kernels("portable");

}  // namespace pagoda::cpu
