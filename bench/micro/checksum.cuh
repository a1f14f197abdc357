// The xor of everything read: keeps reads alive, and shows that each byte came exactly once.
#ifndef PAGODA_BENCH_MICRO_CHECKSUM_CUH_
#define PAGODA_BENCH_MICRO_CHECKSUM_CUH_

#include "cuda/sm90/device.cuh"

namespace pagoda::micro {

struct Checksum {
  uint4 bits{};

  PAGODA_DEVICE void add(uint4 x) {
    bits.x ^= x.x;
    bits.y ^= x.y;
    bits.z ^= x.z;
    bits.w ^= x.w;
  }

  // All lanes of the warp call.
  PAGODA_DEVICE void add_to(uint32_t* total) const {
    const uint32_t of_warp = __reduce_xor_sync(0xffffffff, bits.x ^ bits.y ^ bits.z ^ bits.w);
    if (threadIdx.x % 32 == 0) atomicXor(total, of_warp);
  }
};

}  // namespace pagoda::micro

#endif  // PAGODA_BENCH_MICRO_CHECKSUM_CUH_
