// The types of K and V: how what ldmatrix brings becomes operands of mma.sync.
//
// 8-bit elements are moved in pairs, as if they were 16-bit ones, and converted in registers. The
// order of channels that this leads to is undone where it costs nothing: K's by a query in the same
// order (a product's sum has no order), V's where outputs leave the registers.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_KV_FORMAT_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_KV_FORMAT_CUH_

#include "core/dtype.h"
#include "cuda/kernels/to_f16.cuh"
#include "cuda/sm90/convert.cuh"

namespace pagoda::cuda {

// Is each of a word's elements finite?
PAGODA_DEVICE bool all_finite(BFloat16, uint32_t bits) {
  return ((bits & 0x7fffu) < 0x7f80u) && ((bits >> 16 & 0x7fffu) < 0x7f80u);
}
PAGODA_DEVICE bool all_finite(Float16, uint32_t bits) {
  return ((bits & 0x7fffu) < 0x7c00u) && ((bits >> 16 & 0x7fffu) < 0x7c00u);
}
PAGODA_DEVICE bool all_finite(Float8E4M3, uint32_t bits) {
  return (((bits & 0x7f7f7f7fu) + 0x01010101u) & 0x80808080u) == 0;
}
PAGODA_DEVICE bool all_finite(Float8E5M2, uint32_t bits) {
  return (((bits & 0x7f7f7f7fu) + 0x04040404u) & 0x80808080u) == 0;
}
PAGODA_DEVICE bool all_finite(int8_t, uint32_t) {
  return true;
}

// Two 16-bit values of 1s where a lane's keys 2 * (lane % 4) and the one after stay in the product
// with V, for keys 0-7 and 8-15 of the 16.
using KeepPairs = uint32_t[2];

// One ldmatrix.x4 brings 16 keys' 32 bytes: kSteps times 16 channels.
template <class KvT>
struct KvFormat {
  static constexpr int kSteps = 1;

  // The operands of keys 0-7 and 8-15 of Q K^T.
  PAGODA_DEVICE static void key_operands(const uint32_t (&loaded)[4], int, uint32_t (&first)[2],
                                         uint32_t (&second)[2]) {
    first[0] = loaded[0], first[1] = loaded[1];
    second[0] = loaded[2], second[1] = loaded[3];
  }

  // The operands of two groups of 8 channels of P V, of matrices that were transposed.
  PAGODA_DEVICE static void value_operands(const uint32_t (&loaded)[4], int, const KeepPairs& keep,
                                           uint32_t (&first)[2], uint32_t (&second)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      first[half] = loaded[half] & keep[half];
      second[half] = loaded[2 + half] & keep[half];
    }
  }

  // The channel in column `column` of group 0 or 1 of the 16.
  PAGODA_HD static constexpr int channel(int group, int column) {
    return 8 * group + column;
  }
};

template <class KvT>
requires(sizeof(KvT) == 1) struct KvFormat<KvT> {
  static constexpr int kSteps = 2;

  PAGODA_DEVICE static void key_operands(const uint32_t (&loaded)[4], int step,
                                         uint32_t (&first)[2], uint32_t (&second)[2]) {
    to_f16_pairs(KvT{}, loaded[step], first[0], first[1]);
    to_f16_pairs(KvT{}, loaded[2 + step], second[0], second[1]);
  }

  // Group 0 has the even channels, group 1 the odd ones: a transposed pair is (key, even), (key,
  // odd), (next key, even), (next key, odd).
  PAGODA_DEVICE static void value_operands(const uint32_t (&loaded)[4], int step,
                                           const KeepPairs& keep, uint32_t (&first)[2],
                                           uint32_t (&second)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t kept = loaded[2 * step + half] & keep[half];
      to_f16_pairs(KvT{}, sm90::permute_bytes(kept, 0, 0x3120), first[half], second[half]);
    }
  }

  PAGODA_HD static constexpr int channel(int group, int column) {
    return 2 * column + group;
  }
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_KV_FORMAT_CUH_
