// Every load, store and copy moves the right bytes to the right place.
#include <numeric>

#include "check.h"
#include "core/dtype.h"
#include "cuda/sm90/ldst.cuh"
#include "cuda/sm90/mbarrier.cuh"
#include "cuda/tile/smem_tile.cuh"

namespace pagoda::testing {
namespace {

using Tile16 = tile::SmemTile<uint16_t, 16, 64, sm90::Swizzle::k128B>;

// 16 x 64 elements through shared memory: rows in by 16-byte stores, matrices out by ldmatrix and
// back in by stmatrix, transposed on one side, both sides or neither.
template <bool kTransLoad, bool kTransStore>
__global__ void move_matrices(const uint16_t* in, uint16_t* out) {
  __shared__ Tile16 from, to;
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 16 * 8; i += 32) {
    const int row = i / 8, col = i % 8 * 8;
    sm90::store_shared_16(from.address(row, col), sm90::load_global_16(in + row * 64 + col));
  }
  __syncwarp();
  for (int col = 0; col < 64; col += 16) {
    // Matrices 0 ... 3: rows 0-7 and 8-15 of the left half, then of the right half.
    const int row = lane % 16, half = lane / 16 * 8;
    uint32_t r[4];
    if constexpr (kTransLoad) {
      sm90::ldmatrix_x4_trans(r, from.address(row, col + half));
    } else {
      sm90::ldmatrix_x4(r, from.address(row, col + half));
    }
    if constexpr (kTransStore) {
      sm90::stmatrix_x4_trans(to.address(row, col + half), r);
    } else {
      sm90::stmatrix_x4(to.address(row, col + half), r);
    }
  }
  __syncwarp();
  for (int i = lane; i < 16 * 8; i += 32) {
    const int row = i / 8, col = i % 8 * 8;
    sm90::store_global_16(out + row * 64 + col, sm90::load_shared_16(to.address(row, col)));
  }
}

// Thread t copies word 31 - t.
__global__ void copy_words(const uint32_t* in, uint32_t* out) {
  __shared__ uint32_t staged[32];
  const int t = static_cast<int>(threadIdx.x);
  sm90::cp_async_4(sm90::smem_address(&staged[t]), in + 31 - t);
  sm90::cp_async_commit();
  sm90::cp_async_wait<0>();
  __syncwarp();
  out[t] = staged[t];
}

// What each lane holds after ldmatrix.x2 of rows 0 ... 15, columns 0 ... 7.
template <bool kTrans>
__global__ void load_two(const uint16_t* in, uint32_t* out) {
  __shared__ Tile16 from;
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 16 * 64; i += 32) from.at(i / 64, i % 64) = in[i];
  __syncwarp();
  uint32_t r[2];
  if constexpr (kTrans) {
    sm90::ldmatrix_x2_trans(r, from.address(lane % 16, 0));
  } else {
    sm90::ldmatrix_x2(r, from.address(lane % 16, 0));
  }
  out[2 * lane] = r[0];
  out[2 * lane + 1] = r[1];
}

// Thread t copies 16 bytes four times: whole, cut to 2 * t bytes with zeros behind, with a cache
// policy, and counted by an mbarrier instead of a group; then two loads with a policy.
__global__ void copy_async(const uint4* in, uint4* out) {
  __shared__ uint4 staged[4][8];
  __shared__ sm90::Mbarrier landed;
  const int t = static_cast<int>(threadIdx.x);
  if (t == 0) sm90::init(landed, 8);
  __syncthreads();
  sm90::cp_async_16(sm90::smem_address(&staged[0][t]), in + t);
  sm90::cp_async_16(sm90::smem_address(&staged[1][t]), in + t, 2 * t);
  sm90::cp_async_16(sm90::smem_address(&staged[2][t]), in + t, sm90::l2_evict_first());
  sm90::cp_async_commit();
  sm90::cp_async_16(sm90::smem_address(&staged[3][t]), in + t, sm90::l2_evict_normal());
  sm90::arrive_after_cp_async(landed);
  sm90::cp_async_wait<0>();
  sm90::wait(landed, 0);
  __syncthreads();
  for (int i = 0; i < 4; ++i) out[8 * i + t] = staged[i][7 - t];
  out[32 + t] = sm90::load_global_16(in + t, sm90::l2_evict_last());
  out[40 + t] = sm90::load_l2_16(in + t, sm90::l2_evict_last());
}

std::vector<uint16_t> counting(size_t size) {
  std::vector<uint16_t> x(size);
  std::iota(x.begin(), x.end(), static_cast<uint16_t>(1));
  return x;
}

void test_matrices(Suite& suite) {
  const std::vector<uint16_t> x = counting(16 * 64);
  // Each 8x8 matrix by itself, transposed.
  std::vector<uint16_t> transposed(x.size());
  for (int row = 0; row < 16; ++row) {
    for (int col = 0; col < 64; ++col) {
      const int from_row = row / 8 * 8 + col % 8, from_col = col / 8 * 8 + row % 8;
      transposed[row * 64 + col] = x[from_row * 64 + from_col];
    }
  }
  const DeviceArray<uint16_t> in(x), out(x.size());
  suite.begin("ldst/ldmatrix then stmatrix");
  move_matrices<false, false><<<1, 32>>>(in.get(), out.get());
  suite.synchronize();
  suite.expect_equal(out.to_host(), x);
  suite.begin("ldst/ldmatrix transposed then stmatrix");
  move_matrices<true, false><<<1, 32>>>(in.get(), out.get());
  suite.synchronize();
  suite.expect_equal(out.to_host(), transposed);
  suite.begin("ldst/ldmatrix then stmatrix transposed");
  move_matrices<false, true><<<1, 32>>>(in.get(), out.get());
  suite.synchronize();
  suite.expect_equal(out.to_host(), transposed);
  suite.begin("ldst/both transposed");
  move_matrices<true, true><<<1, 32>>>(in.get(), out.get());
  suite.synchronize();
  suite.expect_equal(out.to_host(), x);

  const DeviceArray<uint32_t> pairs(64);
  for (bool trans : {false, true}) {
    suite.begin(trans ? "ldst/ldmatrix.x2.trans" : "ldst/ldmatrix.x2");
    if (trans) {
      load_two<true><<<1, 32>>>(in.get(), pairs.get());
    } else {
      load_two<false><<<1, 32>>>(in.get(), pairs.get());
    }
    suite.synchronize();
    std::vector<uint32_t> want;
    for (int lane = 0; lane < 32; ++lane) {
      for (int matrix = 0; matrix < 2; ++matrix) {
        const int row = lane / 4, col = lane % 4 * 2;
        const uint32_t low =
            trans ? x[(8 * matrix + col) * 64 + row] : x[(8 * matrix + row) * 64 + col];
        const uint32_t high =
            trans ? x[(8 * matrix + col + 1) * 64 + row] : x[(8 * matrix + row) * 64 + col + 1];
        want.push_back(low | high << 16);
      }
    }
    suite.expect_equal(pairs.to_host(), want);
  }
}

void test_cp_async(Suite& suite) {
  suite.begin("ldst/cp.async whole, cut short, with a policy, counted by an mbarrier");
  const std::vector<uint16_t> x = counting(8 * 8);
  const DeviceArray<uint16_t> in(x), out(6 * x.size());
  copy_async<<<1, 8>>>(reinterpret_cast<const uint4*>(in.get()),
                       reinterpret_cast<uint4*>(out.get()));
  suite.synchronize();
  std::vector<uint16_t> want;
  for (int copy = 0; copy < 6; ++copy) {
    for (int t = 0; t < 8; ++t) {
      const int from = copy < 4 ? 7 - t : t;
      for (int i = 0; i < 8; ++i) {
        want.push_back(copy == 1 && i >= from ? uint16_t{0} : x[8 * from + i]);
      }
    }
  }
  suite.expect_equal(out.to_host(), want);
}

void test_cp_async_words(Suite& suite) {
  suite.begin("ldst/cp.async of 4 bytes");
  std::vector<uint32_t> x(32);
  std::iota(x.begin(), x.end(), 0x01020300u);
  const DeviceArray<uint32_t> in(x), out(32);
  copy_words<<<1, 32>>>(in.get(), out.get());
  suite.synchronize();
  suite.expect_equal(out.to_host(), std::vector<uint32_t>(x.rbegin(), x.rend()));
}

}  // namespace

void test_ldst(Suite& suite) {
  test_matrices(suite);
  test_cp_async(suite);
  test_cp_async_words(suite);
}

}  // namespace pagoda::testing
