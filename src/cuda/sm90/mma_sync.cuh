// Warp-level matrix multiply-accumulate: D[16][8] += A[16][16] B[16][8], f32 sums.
// Lane = 4 * group + quad_lane. Registers hold pairs of neighbours, the lower column (A) or row (B)
// in the low half:
//   a[r]: row group + 8 * (r & 1), columns 2 * quad_lane + 8 * (r >> 1) + {0, 1}
//   b[r]: rows 2 * quad_lane + 8 * r + {0, 1}, column group
//   d[i]: row group + 8 * (i >> 1), column 2 * quad_lane + (i & 1)
#ifndef PAGODA_CUDA_SM90_MMA_SYNC_CUH_
#define PAGODA_CUDA_SM90_MMA_SYNC_CUH_

#include <type_traits>

#include "core/dtype.h"
#include "cuda/sm90/device.cuh"

namespace pagoda::sm90 {

// mma.sync.m16n8k16 (Warp Level Matrix Instructions: mma); T is BFloat16 or Float16.
template <class T>
PAGODA_DEVICE void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  static_assert(std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>);
  if constexpr (std::is_same_v<T, BFloat16>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
}

}  // namespace pagoda::sm90

#endif  // PAGODA_CUDA_SM90_MMA_SYNC_CUH_
