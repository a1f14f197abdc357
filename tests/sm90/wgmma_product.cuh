// One wgmma product of 64 x kN x kK against a host product. Values are small integers: sums are
// exact.
#ifndef PAGODA_TESTS_SM90_WGMMA_PRODUCT_CUH_
#define PAGODA_TESTS_SM90_WGMMA_PRODUCT_CUH_

#include <random>

#include "check.h"
#include "core/arith.h"
#include "core/dtype.h"
#include "cuda/sm90/sync.cuh"
#include "cuda/sm90/wgmma.cuh"
#include "cuda/tile/fragment.cuh"
#include "cuda/tile/smem_tile.cuh"

namespace pagoda::testing {

enum class OperandA { kShared, kRegisters };

// What is multiplied, and how the operands are stored.
template <class T, int kColumns, OperandA kSourceA, sm90::Major kMajorOfA, sm90::Major kMajorOfB,
          sm90::Swizzle kLayout = sm90::Swizzle::k128B>
struct Product {
  using Element = T;
  static constexpr int kM = 64, kN = kColumns, kK = 256 / static_cast<int>(sizeof(T));
  static constexpr int kInstructionK = 32 / static_cast<int>(sizeof(T));
  static constexpr OperandA kA = kSourceA;
  static constexpr sm90::Major kMajorA = kMajorOfA, kMajorB = kMajorOfB;
  static constexpr sm90::Swizzle kSwizzle = kLayout;
  static constexpr bool kAcrossA = kMajorA == sm90::Major::kMn;
  static constexpr bool kAcrossB = kMajorB == sm90::Major::kMn;
  // An operand with n or m contiguous takes whole panels of them.
  static constexpr int kPaddedN = round_up(kN, sm90::swizzle_bytes(kLayout) / int{sizeof(T)});
  using TileA = tile::SmemTile<T, kAcrossA ? kK : kM, kAcrossA ? kM : kK, kSwizzle>;
  using TileB = tile::SmemTile<T, kAcrossB ? kK : kN, kAcrossB ? kPaddedN : kK, kSwizzle>;
  struct Smem {
    TileA a;
    TileB b;
  };
  static constexpr size_t kSmemBytes = sizeof(Smem) + alignof(Smem);
};

// a: [kM][kK], b: [kN][kK], d: [kM][kN], all dense.
template <class P>
__global__ __launch_bounds__(128) void multiply(const typename P::Element* a,
                                                const typename P::Element* b, float* d) {
  using T = typename P::Element;
  extern __shared__ uint8_t raw[];
  auto& smem = *reinterpret_cast<typename P::Smem*>(
      raw + (-sm90::smem_address(raw) & (alignof(typename P::Smem) - 1)));
  const int thread = static_cast<int>(threadIdx.x);
  // All ones is NaN in every format: what lies beside the operands must not be read.
  for (int i = thread; i < int{sizeof(smem.b)}; i += 128) smem.b.bytes[i] = 0xff;
  __syncthreads();
  for (int i = thread; i < P::kM * P::kK; i += 128) {
    const int m = i / P::kK, k = i % P::kK;
    (P::kAcrossA ? smem.a.at(k, m) : smem.a.at(m, k)) = a[i];
  }
  for (int i = thread; i < P::kN * P::kK; i += 128) {
    const int n = i / P::kK, k = i % P::kK;
    (P::kAcrossB ? smem.b.at(k, n) : smem.b.at(n, k)) = b[i];
  }
  sm90::fence_smem_for_async_proxy();
  __syncthreads();

  tile::Fragment<P::kN> sums;
  sums.fill(12345.0f);  // the first product must not add to what was there
  constexpr int kSteps = P::kK / P::kInstructionK;
  [[maybe_unused]] uint32_t a_regs[kSteps][4];
  if constexpr (P::kA == OperandA::kRegisters) {
    constexpr int kPerRegister = 4 / int{sizeof(T)};
    for (int step = 0; step < kSteps; ++step) {
      for (int r = 0; r < 4; ++r) {
        const int m = thread / 32 * 16 + thread % 32 / 4 + 8 * (r & 1);
        const int k = step * P::kInstructionK + kPerRegister * (thread % 4 + 4 * (r >> 1));
        a_regs[step][r] = *reinterpret_cast<const uint32_t*>(a + m * P::kK + k);
      }
    }
  }
  sm90::pin_registers(sums.at);
  sm90::wgmma_fence();
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const int k = step * P::kInstructionK;
    sm90::WgmmaDesc b_desc;
    if constexpr (P::kAcrossB) {
      b_desc = smem.b.mn_major(k, 0);
    } else {
      b_desc = smem.b.k_major(0, k);
    }
    if constexpr (P::kA == OperandA::kRegisters) {
      sm90::wgmma_rs<T, P::kMajorB>(sums.at, a_regs[step], b_desc, step > 0);
    } else if constexpr (P::kAcrossA) {
      sm90::wgmma_ss<T, P::kMajorA, P::kMajorB>(sums.at, smem.a.mn_major(k, 0), b_desc, step > 0);
    } else {
      sm90::wgmma_ss<T, P::kMajorA, P::kMajorB>(sums.at, smem.a.k_major(0, k), b_desc, step > 0);
    }
  }
  sm90::wgmma_commit();
  sm90::wgmma_wait<0>();
  sm90::pin_registers(sums.at);
#pragma unroll
  for (int i = 0; i < sums.kSize; ++i) {
    d[sums.row_of(i, thread) * P::kN + sums.col_of(i, thread)] = sums.at[i];
  }
}

inline void from_float(float x, BFloat16& to) {
  to = to_bfloat16(x);
}
inline void from_float(float x, Float16& to) {
  to = to_float16(x);
}
inline void from_float(float x, Float8E4M3& to) {
  to = to_float8_e4m3(x);
}

template <class P>
void test_product(Suite& suite, const std::string& name) {
  using T = typename P::Element;
  suite.begin("wgmma/" + name + ", n = " + std::to_string(P::kN) + ", swizzle " +
              std::to_string(sm90::swizzle_bytes(P::kSwizzle)) + (P::kAcrossA ? ", A across" : "") +
              (P::kAcrossB ? ", B across" : ""));
  std::mt19937 random(P::kN);
  std::uniform_int_distribution<int> values(-3, 3);
  std::vector<T> a(P::kM * P::kK), b(P::kN * P::kK);
  for (T& x : a) from_float(static_cast<float>(values(random)), x);
  for (T& x : b) from_float(static_cast<float>(values(random)), x);
  const DeviceArray<T> device_a(a), device_b(b);
  const DeviceArray<float> d(P::kM * P::kN);
  allow_smem(multiply<P>, P::kSmemBytes);
  multiply<P><<<1, 128, P::kSmemBytes>>>(device_a.get(), device_b.get(), d.get());
  suite.synchronize();
  std::vector<float> want(P::kM * P::kN);
  for (int m = 0; m < P::kM; ++m) {
    for (int n = 0; n < P::kN; ++n) {
      for (int k = 0; k < P::kK; ++k) {
        want[m * P::kN + n] += to_float(a[m * P::kK + k]) * to_float(b[n * P::kK + k]);
      }
    }
  }
  suite.expect_equal(d.to_host(), want);
}

// Every N that sm90/wgmma.cuh has.
template <template <int> class ProductOfN>
void test_every_n(Suite& suite, const std::string& name) {
  test_product<ProductOfN<8>>(suite, name);
  test_product<ProductOfN<16>>(suite, name);
  test_product<ProductOfN<32>>(suite, name);
  test_product<ProductOfN<64>>(suite, name);
  test_product<ProductOfN<80>>(suite, name);
  test_product<ProductOfN<96>>(suite, name);
  test_product<ProductOfN<112>>(suite, name);
  test_product<ProductOfN<128>>(suite, name);
  test_product<ProductOfN<176>>(suite, name);
  test_product<ProductOfN<192>>(suite, name);
  test_product<ProductOfN<256>>(suite, name);
}

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_SM90_WGMMA_PRODUCT_CUH_
