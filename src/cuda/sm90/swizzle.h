// How shared memory permutes 16-byte chunks so that rows and columns are both free of bank
// conflicts. Copy engine and wgmma know the same four ways.
#ifndef PAGODA_CUDA_SM90_SWIZZLE_H_
#define PAGODA_CUDA_SM90_SWIZZLE_H_

#include "core/portability.h"

namespace pagoda::sm90 {

// The bytes of the rows within which chunks trade places; kNone leaves every chunk where it is.
enum class Swizzle : int32_t { kNone = 16, k32B = 32, k64B = 64, k128B = 128 };

constexpr int swizzle_bytes(Swizzle swizzle) {
  return static_cast<int>(swizzle);
}

// Where byte `offset` of an array of rows of swizzle_bytes() lies, both counted from an address
// that is a multiple of swizzle_alignment(): the chunk index (bits 4 ...) is xored with address
// bits 7 ...
PAGODA_HD constexpr uint32_t swizzled(Swizzle swizzle, uint32_t offset) {
  const uint32_t chunk_mask = static_cast<uint32_t>(swizzle) - 16;
  return offset ^ ((offset >> 3) & chunk_mask);
}

// The period of the pattern: eight rows.
constexpr int swizzle_alignment(Swizzle swizzle) {
  return 8 * swizzle_bytes(swizzle);
}

}  // namespace pagoda::sm90

#endif  // PAGODA_CUDA_SM90_SWIZZLE_H_
