// mma.sync fed by ldmatrix from a swizzled tile, against a host product. All values are small
// integers, so every sum is exact.
#include <random>

#include "check.h"
#include "core/dtype.h"
#include "cuda/sm90/ldst.cuh"
#include "cuda/sm90/mma_sync.cuh"
#include "cuda/tile/fragment.cuh"
#include "cuda/tile/smem_tile.cuh"

namespace pagoda::testing {
namespace {

constexpr int kM = 16, kN = 32, kK = 64;

// d[m][n] = sum over k of a[m][k] b[n][k], and with d as f16 or bf16, e[m][k] = sum over n of
// d[m][n] b[n][k]: the second product reads b through ldmatrix.trans.
template <class T>
__global__ void multiply(const T* a, const T* b, float* d, float* e, float* row_stats) {
  __shared__ tile::SmemTile<T, kM, kK, sm90::Swizzle::k128B> a_tile;
  __shared__ tile::SmemTile<T, kN, kK, sm90::Swizzle::k128B> b_tile;
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < kM * kK; i += 32) a_tile.at(i / kK, i % kK) = a[i];
  for (int i = lane; i < kN * kK; i += 32) b_tile.at(i / kK, i % kK) = b[i];
  __syncwarp();

  tile::Fragment<kN> sums;
  sums.fill(0.0f);
  for (int k = 0; k < kK; k += 16) {
    uint32_t a_regs[4];
    sm90::ldmatrix_x4(a_regs, a_tile.address(lane % 16, k + lane / 16 * 8));
#pragma unroll
    for (int n = 0; n < kN; n += 8) {
      uint32_t b_regs[2];
      sm90::ldmatrix_x2(b_regs, b_tile.address(n + lane % 8, k + lane / 8 % 2 * 8));
      sm90::mma_m16n8k16<T>(sums.mma_sums(n / 8), a_regs, b_regs);
    }
  }
  for (int i = 0; i < sums.kSize; ++i) {
    d[sums.row_of(i, lane) * kN + sums.col_of(i, lane)] = sums.at[i];
  }
  for (int slot = 0; slot < 2; ++slot) {
    const int row = sums.row_of(2 * slot, lane);
    row_stats[2 * row] = tile::quad_max(sums.row_max(slot, -1e30f));
    row_stats[2 * row + 1] = tile::quad_sum(sums.row_sum(slot));
  }

  tile::Fragment<kK> chained;
  chained.fill(0.0f);
#pragma unroll
  for (int slice = 0; slice < kN / 16; ++slice) {
    uint32_t a_regs[4];
    sums.template to_a_operand<T>(slice, a_regs);
#pragma unroll
    for (int col = 0; col < kK; col += 8) {
      uint32_t b_regs[2];
      sm90::ldmatrix_x2_trans(b_regs, b_tile.address(16 * slice + lane % 16, col));
      sm90::mma_m16n8k16<T>(chained.mma_sums(col / 8), a_regs, b_regs);
    }
  }
  chained.scale_row(0, 0.5f);
  for (int i = 0; i < chained.kSize; ++i) {
    e[chained.row_of(i, lane) * kK + chained.col_of(i, lane)] = chained.at[i];
  }
}

template <class T>
void test_type(Suite& suite, const char* name, T (*convert)(float)) {
  suite.begin(std::string("mma_sync/") + name +
              " with ldmatrix, row statistics and a chained product");
  std::mt19937 random(2);
  // Sums of 64 products stay below 256: exact in bf16 too.
  std::uniform_int_distribution<int> values(-1, 1);
  std::vector<T> a(kM * kK), b(kN * kK);
  for (T& x : a) x = convert(static_cast<float>(values(random)));
  for (T& x : b) x = convert(static_cast<float>(values(random)));
  const DeviceArray<T> device_a(a), device_b(b);
  const DeviceArray<float> d(kM * kN), e(kM * kK), stats(2 * kM);
  multiply<T><<<1, 32>>>(device_a.get(), device_b.get(), d.get(), e.get(), stats.get());
  suite.synchronize();
  std::vector<float> want_d(kM * kN), want_e(kM * kK), want_stats(2 * kM);
  for (int m = 0; m < kM; ++m) {
    want_stats[2 * m] = -1e30f;
    for (int n = 0; n < kN; ++n) {
      float& sum = want_d[m * kN + n];
      for (int k = 0; k < kK; ++k) sum += to_float(a[m * kK + k]) * to_float(b[n * kK + k]);
      for (int k = 0; k < kK; ++k) want_e[m * kK + k] += sum * to_float(b[n * kK + k]);
      want_stats[2 * m] = std::fmax(want_stats[2 * m], sum);
      want_stats[2 * m + 1] += sum;
    }
    for (int k = 0; k < kK && m < 8; ++k) want_e[m * kK + k] *= 0.5f;  // row slot 0
  }
  suite.expect_equal(d.to_host(), want_d);
  suite.expect_equal(stats.to_host(), want_stats);
  suite.expect_equal(e.to_host(), want_e);
}

}  // namespace

void test_mma_sync(Suite& suite) {
  test_type<BFloat16>(suite, "bf16", [](float x) { return to_bfloat16(x); });
  test_type<Float16>(suite, "f16", [](float x) { return to_float16(x); });
}

}  // namespace pagoda::testing
