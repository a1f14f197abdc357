// Members that only some configurations have.
#ifndef PAGODA_CUDA_KERNELS_TYPE_IF_H_
#define PAGODA_CUDA_KERNELS_TYPE_IF_H_

#include <type_traits>

namespace pagoda::cuda {

struct Nothing {};

template <bool kIs, class T>
using TypeIf = std::conditional_t<kIs, T, Nothing>;

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_TYPE_IF_H_
