// Warpgroup-level matrix multiply-accumulate: D[64][N] (+)= A[64][K] B[K][N], f32 sums, K = 32
// bytes of operands (16 elements of 16 bits, 32 of 8). All 128 threads of a warpgroup call
// together; the work runs asynchronously until wgmma_wait(). Thread t of the warpgroup, warp w = t
// / 32, lane l = t % 32:
//   d[i]: row 16 * w + l / 4 + 8 * ((i >> 1) & 1), column 8 * (i >> 2) + 2 * (l % 4) + (i & 1)
//   a[r] (operand in registers), 16 bits: row 16 * w + l / 4 + 8 * (r & 1),
//                                         columns 2 * (l % 4) + 8 * (r >> 1) + {0, 1}
//                                 8 bits: columns 4 * (l % 4) + 16 * (r >> 1) + {0, 1, 2, 3}
#ifndef PAGODA_CUDA_SM90_WGMMA_CUH_
#define PAGODA_CUDA_SM90_WGMMA_CUH_

#include <type_traits>

#include "core/dtype.h"
#include "cuda/sm90/device.cuh"
#include "cuda/sm90/wgmma_desc.cuh"

namespace pagoda::sm90 {

// wgmma.fence: before the first wgmma, and before one that reads registers written since the last.
PAGODA_DEVICE void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// wgmma.commit_group: closes the current group.
PAGODA_DEVICE void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// wgmma.wait_group: until at most kPending of the newest groups are under way.
template <int kPending>
PAGODA_DEVICE void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// No instruction: keeps the compiler from moving uses of `regs` across this point, for registers
// that asynchronous wgmma reads or writes.
template <class T, int kSize>
PAGODA_DEVICE void pin_registers(T (&regs)[kSize]) {
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
    if constexpr (std::is_same_v<T, float>) {
      asm volatile("" : "+f"(regs[i])::"memory");
    } else {
      asm volatile("" : "+r"(regs[i])::"memory");
    }
  }
}

// Register names %0 ... and their constraints, for the operand lists below: asm operands need
// numbers.
// clang-format off
#define PAGODA_REGS_4(t)  "%" #t "0, %" #t "1, %" #t "2, %" #t "3"
#define PAGODA_REGS_8(t)  PAGODA_REGS_4(t) ", %" #t "4, %" #t "5, %" #t "6, %" #t "7"
#define PAGODA_REGS_10(t) PAGODA_REGS_8(t) ", %" #t "8, %" #t "9, "
#define PAGODA_REGS_40    PAGODA_REGS_10() PAGODA_REGS_10(1) PAGODA_REGS_10(2) PAGODA_REGS_10(3)
#define PAGODA_REGS_80    PAGODA_REGS_40 PAGODA_REGS_10(4) PAGODA_REGS_10(5) PAGODA_REGS_10(6) PAGODA_REGS_10(7)
#define PAGODA_D_4   PAGODA_REGS_4()
#define PAGODA_D_8   PAGODA_REGS_8()
#define PAGODA_D_16  PAGODA_REGS_10() PAGODA_REGS_4(1) ", %14, %15"
#define PAGODA_D_32  PAGODA_REGS_10() PAGODA_REGS_10(1) PAGODA_REGS_10(2) "%30, %31"
#define PAGODA_D_40  PAGODA_REGS_10() PAGODA_REGS_10(1) PAGODA_REGS_10(2) PAGODA_REGS_8(3) ", %38, %39"
#define PAGODA_D_48  PAGODA_REGS_40 PAGODA_REGS_8(4)
#define PAGODA_D_56  PAGODA_REGS_40 PAGODA_REGS_10(4) PAGODA_REGS_4(5) ", %54, %55"
#define PAGODA_D_64  PAGODA_REGS_40 PAGODA_REGS_10(4) PAGODA_REGS_10(5) PAGODA_REGS_4(6)
#define PAGODA_D_88  PAGODA_REGS_80 PAGODA_REGS_8(8)
#define PAGODA_D_96  PAGODA_REGS_80 PAGODA_REGS_10(8) PAGODA_REGS_4(9) ", %94, %95"
#define PAGODA_D_128 PAGODA_REGS_80 PAGODA_REGS_10(8) PAGODA_REGS_10(9) PAGODA_REGS_10(10) \
                     PAGODA_REGS_10(11) PAGODA_REGS_8(12)

#define PAGODA_RW_4(i)  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define PAGODA_RW_8(i)  PAGODA_RW_4(i), PAGODA_RW_4(i + 4)
#define PAGODA_RW_16(i) PAGODA_RW_8(i), PAGODA_RW_8(i + 8)
#define PAGODA_RW_32(i) PAGODA_RW_16(i), PAGODA_RW_16(i + 16)
#define PAGODA_RW_40(i) PAGODA_RW_32(i), PAGODA_RW_8(i + 32)
#define PAGODA_RW_48(i) PAGODA_RW_32(i), PAGODA_RW_16(i + 32)
#define PAGODA_RW_56(i) PAGODA_RW_48(i), PAGODA_RW_8(i + 48)
#define PAGODA_RW_64(i) PAGODA_RW_32(i), PAGODA_RW_32(i + 32)
#define PAGODA_RW_88(i) PAGODA_RW_64(i), PAGODA_RW_16(i + 64), PAGODA_RW_8(i + 80)
#define PAGODA_RW_96(i) PAGODA_RW_64(i), PAGODA_RW_32(i + 64)
#define PAGODA_RW_128(i) PAGODA_RW_64(i), PAGODA_RW_64(i + 64)

// wgmma.mma_async; `inputs` is the text of the operands after D, `accumulate` that operand's number.
#define PAGODA_WGMMA_ASM(shape, regs, inputs, accumulate, tail, ...)                     \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " accumulate ", 0;\n"                   \
               "wgmma.mma_async.sync.aligned." shape " {" PAGODA_D_##regs "}, " inputs   \
               ", p, 1, 1" tail ";\n}\n"                                                 \
               : PAGODA_RW_##regs(0) : __VA_ARGS__)

// Both operands from shared memory, and A from registers. `regs` = N / 2; p0 ... p5 are the numbers of
// the operands that follow D's.
#define PAGODA_WGMMA(n, regs, p0, p1, p2, p3, p4, p5, p6)                                          \
  template <class T, Major kMajorA = Major::kK, Major kMajorB = Major::kK>                         \
  PAGODA_DEVICE void wgmma_ss(float (&d)[regs], WgmmaDesc a, WgmmaDesc b, bool accumulate) {       \
    check_wgmma_operands<T, kMajorA, kMajorB>();                                                   \
    const int acc = accumulate;                                                                    \
    constexpr int kTransA = static_cast<int>(kMajorA), kTransB = static_cast<int>(kMajorB);        \
    if constexpr (std::is_same_v<T, BFloat16>) {                                                   \
      PAGODA_WGMMA_ASM("m64n" #n "k16.f32.bf16.bf16", regs, "%" #p0 ", %" #p1, "%" #p2,            \
                       ", %" #p3 ", %" #p4, "l"(a.bits), "l"(b.bits), "r"(acc), "n"(kTransA),      \
                       "n"(kTransB));                                                              \
    } else if constexpr (std::is_same_v<T, Float16>) {                                             \
      PAGODA_WGMMA_ASM("m64n" #n "k16.f32.f16.f16", regs, "%" #p0 ", %" #p1, "%" #p2,              \
                       ", %" #p3 ", %" #p4, "l"(a.bits), "l"(b.bits), "r"(acc), "n"(kTransA),      \
                       "n"(kTransB));                                                              \
    } else {                                                                                       \
      PAGODA_WGMMA_ASM("m64n" #n "k32.f32.e4m3.e4m3", regs, "%" #p0 ", %" #p1, "%" #p2, "",        \
                       "l"(a.bits), "l"(b.bits), "r"(acc));                                        \
    }                                                                                              \
  }                                                                                                \
  template <class T, Major kMajorB = Major::kK>                                                    \
  PAGODA_DEVICE void wgmma_rs(float (&d)[regs], const uint32_t (&a)[4], WgmmaDesc b,               \
                              bool accumulate) {                                                   \
    check_wgmma_operands<T, Major::kK, kMajorB>();                                                 \
    const int acc = accumulate;                                                                    \
    constexpr int kTransB = static_cast<int>(kMajorB);                                             \
    if constexpr (std::is_same_v<T, BFloat16>) {                                                   \
      PAGODA_WGMMA_ASM("m64n" #n "k16.f32.bf16.bf16", regs,                                        \
                       "{%" #p0 ", %" #p1 ", %" #p2 ", %" #p3 "}, %" #p4, "%" #p5, ", %" #p6,      \
                       "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits), "r"(acc),          \
                       "n"(kTransB));                                                              \
    } else if constexpr (std::is_same_v<T, Float16>) {                                             \
      PAGODA_WGMMA_ASM("m64n" #n "k16.f32.f16.f16", regs,                                          \
                       "{%" #p0 ", %" #p1 ", %" #p2 ", %" #p3 "}, %" #p4, "%" #p5, ", %" #p6,      \
                       "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits), "r"(acc),          \
                       "n"(kTransB));                                                              \
    } else {                                                                                       \
      PAGODA_WGMMA_ASM("m64n" #n "k32.f32.e4m3.e4m3", regs,                                        \
                       "{%" #p0 ", %" #p1 ", %" #p2 ", %" #p3 "}, %" #p4, "%" #p5, "", "r"(a[0]),  \
                       "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits), "r"(acc));                    \
    }                                                                                              \
  }

// 8-bit operands have k contiguous: the instruction has no other form.
template <class T, Major kMajorA, Major kMajorB>
PAGODA_DEVICE constexpr void check_wgmma_operands() {
  constexpr bool kIs16Bit = std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>;
  static_assert(kIs16Bit || std::is_same_v<T, Float8E4M3>);
  static_assert(kIs16Bit || (kMajorA == Major::kK && kMajorB == Major::kK));
}

//           N, registers, numbers of the operands behind them
PAGODA_WGMMA(8,   4,   4,   5,   6,   7,   8,   9,   10)
PAGODA_WGMMA(16,  8,   8,   9,   10,  11,  12,  13,  14)
PAGODA_WGMMA(32,  16,  16,  17,  18,  19,  20,  21,  22)
PAGODA_WGMMA(64,  32,  32,  33,  34,  35,  36,  37,  38)
PAGODA_WGMMA(80,  40,  40,  41,  42,  43,  44,  45,  46)
PAGODA_WGMMA(96,  48,  48,  49,  50,  51,  52,  53,  54)
PAGODA_WGMMA(112, 56,  56,  57,  58,  59,  60,  61,  62)
PAGODA_WGMMA(128, 64,  64,  65,  66,  67,  68,  69,  70)
PAGODA_WGMMA(176, 88,  88,  89,  90,  91,  92,  93,  94)
PAGODA_WGMMA(192, 96,  96,  97,  98,  99,  100, 101, 102)
PAGODA_WGMMA(256, 128, 128, 129, 130, 131, 132, 133, 134)
// clang-format on

#undef PAGODA_WGMMA
#undef PAGODA_WGMMA_ASM
#undef PAGODA_D_4
#undef PAGODA_D_8
#undef PAGODA_D_16
#undef PAGODA_D_32
#undef PAGODA_D_40
#undef PAGODA_D_48
#undef PAGODA_D_56
#undef PAGODA_D_64
#undef PAGODA_D_88
#undef PAGODA_D_96
#undef PAGODA_D_128
#undef PAGODA_RW_4
#undef PAGODA_RW_8
#undef PAGODA_RW_16
#undef PAGODA_RW_32
#undef PAGODA_RW_40
#undef PAGODA_RW_48
#undef PAGODA_RW_56
#undef PAGODA_RW_64
#undef PAGODA_RW_88
#undef PAGODA_RW_96
#undef PAGODA_RW_128
#undef PAGODA_REGS_4
#undef PAGODA_REGS_8
#undef PAGODA_REGS_10
#undef PAGODA_REGS_40
#undef PAGODA_REGS_80

}  // namespace pagoda::sm90

#endif  // PAGODA_CUDA_SM90_WGMMA_CUH_
