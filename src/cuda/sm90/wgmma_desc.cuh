// The 64 bits that tell wgmma where an operand lies in shared memory.
#ifndef PAGODA_CUDA_SM90_WGMMA_DESC_CUH_
#define PAGODA_CUDA_SM90_WGMMA_DESC_CUH_

#include "cuda/sm90/device.cuh"
#include "cuda/sm90/swizzle.h"

namespace pagoda::sm90 {

// Which dimension of an operand is contiguous in memory: the one that is summed over (k) or the
// other (m of A, n of B).
enum class Major : int32_t { kK = 0, kMn = 1 };

// Strides of an operand stored as panels of rows of swizzle_bytes(), in bytes.
// (Asynchronous Warpgroup Level Matrix Instructions: Strides, Matrix Descriptor Format)
struct OperandLayout {
  Swizzle swizzle;
  uint32_t leading_stride;
  uint32_t stride;
};

struct WgmmaDesc {
  uint64_t bits;

  // The operand `bytes` further on, in the same layout. The address is in the low half.
  PAGODA_DEVICE WgmmaDesc advanced(uint32_t bytes) const {
    return with_low(static_cast<uint32_t>(bits) + (bytes >> 4));
  }

  // The same in all lanes, which the compiler cannot know of an address that it read or chose: it
  // then keeps the operand in uniform registers, where wgmma takes it from.
  PAGODA_DEVICE WgmmaDesc uniform() const {
    return with_low(__shfl_sync(0xffffffffu, static_cast<uint32_t>(bits), 0));
  }

 private:
  PAGODA_DEVICE WgmmaDesc with_low(uint32_t low) const {
    return {(bits & ~uint64_t{0xffffffffu}) | low};
  }
};

// Matrix Descriptor Format: address, leading and stride dimension byte offset in units of 16 bytes;
// the swizzle mode in the top two bits. Operands start on the swizzle's period: base offset 0.
PAGODA_DEVICE WgmmaDesc make_wgmma_desc(uint32_t smem, OperandLayout layout) {
  const uint64_t mode = layout.swizzle == Swizzle::k128B  ? 1
                        : layout.swizzle == Swizzle::k64B ? 2
                        : layout.swizzle == Swizzle::k32B ? 3
                                                          : 0;
  return {static_cast<uint64_t>((smem & 0x3ffff) >> 4) |
          static_cast<uint64_t>(layout.leading_stride >> 4) << 16 |
          static_cast<uint64_t>(layout.stride >> 4) << 32 | mode << 62};
}

}  // namespace pagoda::sm90

#endif  // PAGODA_CUDA_SM90_WGMMA_DESC_CUH_
