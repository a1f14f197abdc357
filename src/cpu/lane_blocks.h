// Sums and maxima across the lanes of several vectors at once: their lanes change places block by
// block, so that every operation works on whole vectors. Vector by vector it would take four times
// as many.
#ifndef PAGODA_CPU_LANE_BLOCKS_H_
#define PAGODA_CPU_LANE_BLOCKS_H_

#include <utility>

#include "cpu/simd.h"

namespace pagoda::cpu {
namespace {

// A block is four lanes: shuffles within it are cheap, in every instruction set.
constexpr int kBlockLanes = 4;
constexpr int kBlocks = kLanes / kBlockLanes;

// p[0] to p[kCount - 1] in each block, zeros after them.
template <int kCount, int... kIndex>
PAGODA_HD F32 load_block(const float* p, std::integer_sequence<int, kIndex...>) {
  RawF32 r{};
  __builtin_memcpy(&r, p, kCount * sizeof(float));
  return F32(__builtin_shufflevector(r, r, kIndex % kBlockLanes...));
}
template <int kCount>
PAGODA_HD F32 load_block(const float* p) {
  return load_block<kCount>(p, std::make_integer_sequence<int, kLanes>());
}

template <int kCount>
PAGODA_HD void store_block(F32 x, float* p) {
  __builtin_memcpy(p, &x.raw, kCount * sizeof(float));
}

// Lane kLane of each block in all of that block.
template <int kLane, int... kIndex>
PAGODA_HD F32 repeat_lane(F32 x, std::integer_sequence<int, kIndex...>) {
  return F32(__builtin_shufflevector(x.raw, x.raw, kIndex / kBlockLanes * kBlockLanes + kLane...));
}
template <int kLane>
PAGODA_HD F32 repeat_lane(F32 x) {
  return repeat_lane<kLane>(x, std::make_integer_sequence<int, kLanes>());
}

struct Add {
  PAGODA_HD F32 operator()(F32 a, F32 b) const { return a + b; }
};
struct Max {
  PAGODA_HD F32 operator()(F32 a, F32 b) const { return max_lanes(a, b); }
};

// The lanes of a, and then those of b, kStep apart, combined:
//   kStep = 2: of blocks {a0, a1, a2, a3} and {b0 ...} {a0 a2, b0 b2, a1 a3, b1 b3}
//   kStep = 1: of blocks as kStep = 2 makes them {a, b, c, d}
template <int kStep, class Combine, int... kIndex>
PAGODA_HD F32 fold_lanes(F32 a, F32 b, Combine combine, std::integer_sequence<int, kIndex...>) {
  constexpr auto source = [](int i, int half) {
    const int block = i / kBlockLanes * kBlockLanes;
    const int lane = i % kBlockLanes;
    return kStep == 2 ? block + lane / 2 + 2 * half + lane % 2 * kLanes
                      : block + lane % 2 + 2 * half + lane / 2 * kLanes;
  };
  return combine(F32(__builtin_shufflevector(a.raw, b.raw, source(kIndex, 0)...)),
                 F32(__builtin_shufflevector(a.raw, b.raw, source(kIndex, 1)...)));
}

// Lane j of each block of the result is that block of v[j], combined.
template <class Combine>
PAGODA_HD F32 fold_lanes(const F32 (&v)[kBlockLanes], Combine combine) {
  constexpr auto lanes = std::make_integer_sequence<int, kLanes>();
  return fold_lanes<1>(fold_lanes<2>(v[0], v[1], combine, lanes),
                       fold_lanes<2>(v[2], v[3], combine, lanes), combine, lanes);
}

// Neighbouring blocks combined: first those of a, then those of b.
template <class Combine, int... kIndex>
PAGODA_HD F32 fold_block_pairs(F32 a, F32 b, Combine combine,
                               std::integer_sequence<int, kIndex...>) {
  constexpr auto source = [](int i, int second) {
    return (i / kBlockLanes * 2 + second) * kBlockLanes + i % kBlockLanes;
  };
  return combine(F32(__builtin_shufflevector(a.raw, b.raw, source(kIndex, 0)...)),
                 F32(__builtin_shufflevector(a.raw, b.raw, source(kIndex, 1)...)));
}

// Block i of the result is the sum of the blocks of v[i]; v is used up.
template <int kCount = kBlocks>
PAGODA_HD F32 add_blocks(F32* v) {
  if constexpr (kCount > 1) {
    constexpr auto lanes = std::make_integer_sequence<int, kLanes>();
    for (int i = 0; i < kCount / 2; ++i) {
      v[i] = fold_block_pairs(v[2 * i], v[2 * i + 1], Add(), lanes);
    }
    return add_blocks<kCount / 2>(v);
  } else {
    return v[0];
  }
}

// Every block of the result is all blocks of x, combined.
template <int kStep = kLanes / 2, class Combine>
PAGODA_HD F32 fold_blocks(F32 x, Combine combine) {
  if constexpr (kStep < kBlockLanes) {
    return x;
  } else {
    x = combine(x, exchange<kStep>(x, std::make_integer_sequence<int, kLanes>()));
    return fold_blocks<kStep / 2>(x, combine);
  }
}

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_LANE_BLOCKS_H_
