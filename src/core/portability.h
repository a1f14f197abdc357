// What lets one header compile with g++, clang++ and nvcc, for host and device.
#ifndef PAGODA_CORE_PORTABILITY_H_
#define PAGODA_CORE_PORTABILITY_H_

#include <cstdint>

static_assert(__cplusplus >= 202002L, "Pagoda needs C++20");

// Shared functions are always inlined: the CPU kernels compile these headers once per instruction
// set, and an out-of-line copy made for a wide one could be linked into code for a narrow one.
#if defined(__CUDACC__)
#define PAGODA_HD __host__ __device__ __forceinline__
#else
#define PAGODA_HD [[gnu::always_inline]] inline
#endif

namespace pagoda {

constexpr float kInfinity = __builtin_huge_valf();

// By value: a reference to a namespace-scope constant would be an address that device code lacks.
template <class To, class From>
PAGODA_HD To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

}  // namespace pagoda

#endif  // PAGODA_CORE_PORTABILITY_H_
