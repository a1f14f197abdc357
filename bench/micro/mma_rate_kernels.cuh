// Loops of matrix products over operands that stay where they are.
#ifndef PAGODA_BENCH_MICRO_MMA_RATE_KERNELS_CUH_
#define PAGODA_BENCH_MICRO_MMA_RATE_KERNELS_CUH_

#include "core/dtype.h"
#include "cuda/sm90/ldst.cuh"
#include "cuda/sm90/mma_sync.cuh"
#include "cuda/sm90/sync.cuh"
#include "cuda/sm90/wgmma.cuh"
#include "cuda/tile/fragment.cuh"
#include "cuda/tile/smem_tile.cuh"

namespace pagoda::micro {

constexpr int kWgmmaK = 128;  // of one round: eight instructions
constexpr int64_t kOperandBytes = 256 * 1024;

enum class WgmmaForm { kShared, kSharedAcross, kRegistersAcross };

template <int kN>
struct WgmmaSmem {
  static constexpr auto k128B = sm90::Swizzle::k128B;
  tile::SmemTile<BFloat16, 64, kWgmmaK, k128B> a;
  tile::SmemTile<BFloat16, kN, kWgmmaK, k128B> b;                       // k contiguous
  tile::SmemTile<BFloat16, kWgmmaK, round_up(kN, 64), k128B> b_across;  // n contiguous
};

template <class T>
PAGODA_DEVICE T& aligned_smem(uint8_t* raw) {
  return *reinterpret_cast<T*>(raw + (-sm90::smem_address(raw) & (alignof(T) - 1)));
}

PAGODA_DEVICE void fill_smem(void* smem, int bytes, const uint32_t* operands) {
  auto* words = static_cast<uint32_t*>(smem);
  for (int i = static_cast<int>(threadIdx.x); i < bytes / 4; i += static_cast<int>(blockDim.x)) {
    words[i] = operands[i % (kOperandBytes / 4)];
  }
}

// Every warpgroup has sums of its own; A and B are shared by all.
template <int kN, WgmmaForm kForm>
__global__ __launch_bounds__(kN <= 128 ? 512 : 256) void repeat_wgmma(const uint32_t* operands,
                                                                      int rounds, int64_t* cycles,
                                                                      float* out) {
  extern __shared__ uint8_t raw[];
  auto& smem = aligned_smem<WgmmaSmem<kN>>(raw);
  fill_smem(&smem, sizeof(smem), operands);
  sm90::fence_smem_for_async_proxy();
  __syncthreads();
  uint32_t a[kWgmmaK / 16][4];
#pragma unroll
  for (int i = 0; i < kWgmmaK / 4; ++i) a[i / 4][i % 4] = operands[32 * threadIdx.x % 4096 + i];

  tile::Fragment<kN> sums;
  sums.fill(0.0f);
  const int64_t start = clock64();
  for (int round = 0; round < rounds; ++round) {
    sm90::pin_registers(sums.at);
    sm90::wgmma_fence();
#pragma unroll
    for (int k = 0; k < kWgmmaK; k += 16) {
      if constexpr (kForm == WgmmaForm::kShared) {
        sm90::wgmma_ss<BFloat16>(sums.at, smem.a.k_major(0, k), smem.b.k_major(0, k), true);
      } else if constexpr (kForm == WgmmaForm::kSharedAcross) {
        sm90::wgmma_ss<BFloat16, sm90::Major::kK, sm90::Major::kMn>(
            sums.at, smem.a.k_major(0, k), smem.b_across.mn_major(k, 0), true);
      } else {
        sm90::wgmma_rs<BFloat16, sm90::Major::kMn>(sums.at, a[k / 16], smem.b_across.mn_major(k, 0),
                                                   true);
      }
    }
    sm90::wgmma_commit();
    sm90::wgmma_wait<0>();
    sm90::pin_registers(sums.at);
  }
  __syncthreads();
  if (threadIdx.x == 0) cycles[blockIdx.x] = clock64() - start;
  out[blockIdx.x * blockDim.x + threadIdx.x] = sums.row_sum(0) + sums.row_sum(1);
}

constexpr int kMmaChains = 8;  // independent sums per warp

PAGODA_DEVICE void load_fragment(uint32_t (&regs)[4], const uint32_t* operands, int which) {
#pragma unroll
  for (int i = 0; i < 4; ++i) regs[i] = operands[(which * 4 + i) * 32 + threadIdx.x % 32];
}

__global__ __launch_bounds__(512) void repeat_mma_sync(const uint32_t* operands, int rounds,
                                                       int64_t* cycles, float* out) {
  uint32_t a[2][4], b[kMmaChains / 2][4];
  for (int i = 0; i < 2; ++i) load_fragment(a[i], operands, i);
#pragma unroll
  for (int i = 0; i < kMmaChains / 2; ++i) load_fragment(b[i], operands, 2 + i);
  tile::Fragment<8 * kMmaChains> sums;
  sums.fill(0.0f);
  const int64_t start = clock64();
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kMmaChains; ++i) {
      const uint32_t(&quad)[4] = b[i / 2];
      const uint32_t pair[2] = {quad[i % 2 * 2], quad[i % 2 * 2 + 1]};
      sm90::mma_m16n8k16<BFloat16>(sums.mma_sums(i), a[i % 2], pair);
    }
  }
  __syncthreads();
  if (threadIdx.x == 0) cycles[blockIdx.x] = clock64() - start;
  out[blockIdx.x * blockDim.x + threadIdx.x] = sums.row_sum(0) + sums.row_sum(1);
}

// As in decoding, without the softmax: each warp owns 16 tokens of a tile of 128 columns. A round
// is S[rows][16] = Q K^T with Q in registers, then O[rows][128] += S V, both operands by ldmatrix.
constexpr int kWarpTokens = 16;
constexpr int kTileRing = 2;  // tiles in turn: from one and the same, ptxas hoists the loads

template <int kRowTiles>
__global__ __launch_bounds__(256) void repeat_few_rows(const uint32_t* operands, int rounds,
                                                       int64_t* cycles, float* out) {
  using WarpTile = tile::SmemTile<BFloat16, kWarpTokens, 128, sm90::Swizzle::k128B>;
  extern __shared__ uint8_t raw[];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int num_warps = static_cast<int>(blockDim.x) / 32;
  WarpTile* tiles = &aligned_smem<WarpTile>(raw);
  fill_smem(tiles, 2 * kTileRing * num_warps * sizeof(WarpTile), operands);
  __syncthreads();
  uint32_t q[kRowTiles][8][4];
#pragma unroll
  for (int i = 0; i < kRowTiles * 8; ++i) load_fragment(q[i / 8][i % 8], operands, i);
  tile::Fragment<128> sums[kRowTiles];
#pragma unroll
  for (int t = 0; t < kRowTiles; ++t) sums[t].fill(0.0f);

  const int64_t start = clock64();
#pragma unroll 1
  for (int round = 0; round < rounds; ++round) {
    const WarpTile& keys = tiles[2 * (round % kTileRing * num_warps + warp)];
    const WarpTile& values = (&keys)[1];
    tile::Fragment<kWarpTokens> scores[kRowTiles];
#pragma unroll
    for (int t = 0; t < kRowTiles; ++t) scores[t].fill(0.0f);
#pragma unroll
    for (int k = 0; k < 128; k += 16) {
      uint32_t b[4];  // tokens 0-7 and 8-15, each with the lower and upper 8 of k
      sm90::ldmatrix_x4(b, keys.address(lane / 16 * 8 + lane % 8, k + lane / 8 % 2 * 8));
#pragma unroll
      for (int t = 0; t < kRowTiles; ++t) {
        sm90::mma_m16n8k16<BFloat16>(scores[t].mma_sums(0), q[t][k / 16], {b[0], b[1]});
        sm90::mma_m16n8k16<BFloat16>(scores[t].mma_sums(1), q[t][k / 16], {b[2], b[3]});
      }
    }
    uint32_t p[kRowTiles][4];
#pragma unroll
    for (int t = 0; t < kRowTiles; ++t) scores[t].template to_a_operand<BFloat16>(0, p[t]);
#pragma unroll
    for (int col = 0; col < 128; col += 16) {
      uint32_t b[4];  // columns 0-7 and 8-15, each with tokens 0-7 and 8-15
      sm90::ldmatrix_x4_trans(b, values.address(lane % 16, col + lane / 16 * 8));
#pragma unroll
      for (int t = 0; t < kRowTiles; ++t) {
        sm90::mma_m16n8k16<BFloat16>(sums[t].mma_sums(col / 8), p[t], {b[0], b[1]});
        sm90::mma_m16n8k16<BFloat16>(sums[t].mma_sums(col / 8 + 1), p[t], {b[2], b[3]});
      }
    }
  }
  __syncthreads();
  if (threadIdx.x == 0) cycles[blockIdx.x] = clock64() - start;
  float all = 0.0f;
#pragma unroll
  for (int t = 0; t < kRowTiles; ++t) all += sums[t].row_sum(0) + sums[t].row_sum(1);
  out[blockIdx.x * blockDim.x + threadIdx.x] = all;
}

}  // namespace pagoda::micro

#endif  // PAGODA_BENCH_MICRO_MMA_RATE_KERNELS_CUH_
