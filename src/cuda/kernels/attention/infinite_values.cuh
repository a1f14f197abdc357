// Values that are not finite: 0 * NaN is NaN, so a key that is hidden from some row must not be
// multiplied with that row's weight of 0. Such keys are left out of the products, and added by
// themselves to the rows that see them.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_INFINITE_VALUES_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_INFINITE_VALUES_CUH_

#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/attention/key_rows.cuh"
#include "cuda/kernels/attention/kv_format.cuh"
#include "cuda/sm90/ldst.cuh"

namespace pagoda::cuda {

template <class Config>
class InfiniteValues {
 public:
  using KvT = typename Config::KvT;
  using Format = KvFormat<KvT>;
  using KvTile = uint8_t[Config::kTileBytes];
  static constexpr int kKeys = Config::kChunkKeys;

  // Of the chunk at row `tile_row` of the tile, if it `may_have` any that matter.
  PAGODA_DEVICE InfiniteValues(const KvTile& v, int tile_row, int32_t log2_box_keys, bool may_have)
      : v_(v), tile_row_(tile_row), log2_box_keys_(log2_box_keys), keys_(may_have ? find() : 0) {}

  PAGODA_DEVICE bool any() const { return keys_ != 0; }

  // Which halves of this lane's pair of keys, from `first` on, stay in the product.
  PAGODA_DEVICE uint32_t pair_mask(int first) const {
    const uint32_t pair = keys_ >> (first + 2 * (lane() % 4));
    return ((pair & 1u) != 0 ? 0u : 0xffffu) | ((pair & 2u) != 0 ? 0u : 0xffff0000u);
  }

  // To all of a warp's outputs; `x`: its weights, `hidden`: as ChunkScores has it.
  PAGODA_DEVICE void add(const ChunkTile<Config>& x, uint32_t hidden,
                         float (&out)[Config::kHeadDim / 8][4]) const {
#pragma unroll 1
    for (int key = 0; key < kKeys; ++key) {
      if ((keys_ >> key & 1u) == 0) continue;
      float weight[2];
      bool hides[2];
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        weight[row] = from_key_owner(x, key, row);
        hides[row] = bit_from_key_owner(hidden, key, row);
      }
      const KeyRow<Config> row(tile_row_ + key, log2_box_keys_);
#pragma unroll
      for (int g = 0; g < Config::kHeadDim / 8; ++g) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int channel = g / 2 * 16 + Format::channel(g % 2, 2 * (lane() % 4) + i % 2);
          const int byte = channel * Config::kKvBytes;
          const auto value = *reinterpret_cast<const KvT*>(v_ + row.offset(byte / 16) + byte % 16);
          if (!hides[i / 2]) out[g][i] += weight[i / 2] * to_float(value);
        }
      }
    }
  }

 private:
  static constexpr int kLanesPerKey = 32 / kKeys;

  PAGODA_DEVICE static int lane() {
    return static_cast<int>(threadIdx.x % 32);
  }

  // Bit per key of the chunk whose V is not finite.
  PAGODA_DEVICE uint32_t find() const {
    const KeyRow<Config> row(tile_row_ + lane() / kLanesPerKey, log2_box_keys_);
    constexpr int kChunks = Config::kHeadDim * Config::kKvBytes / 16;
    bool finite = true;
#pragma unroll 2
    for (int c = lane() % kLanesPerKey; c < kChunks; c += kLanesPerKey) {
      const uint4 bits = sm90::load_shared_16(smem_address(v_) + row.offset(c));
      for (uint32_t word : {bits.x, bits.y, bits.z, bits.w}) {
        finite = finite && all_finite(KvT{}, word);
      }
    }
    const uint32_t votes = __ballot_sync(0xffffffffu, !finite);
    if (kLanesPerKey == 1 || votes == 0) return votes;
    uint32_t keys = 0;
#pragma unroll 1
    for (int i = 0; i < kKeys; ++i) keys |= (votes >> (2 * i) & 3u) != 0 ? 1u << i : 0u;
    return keys;
  }

  // x of (this lane's row, key), from the lane of its quad that holds the key. Every candidate is
  // fetched: choosing first would index registers.
  PAGODA_DEVICE static float from_key_owner(const ChunkTile<Config>& x, int key, int row) {
    const int owner = (lane() & ~3) | (key % 8 / 2);
    float value = 0.0f;
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float candidate = __shfl_sync(0xffffffffu, x[j][2 * row + i], owner);
        if (key / 8 == j && key % 2 == i) value = candidate;
      }
    }
    return value;
  }
  PAGODA_DEVICE static bool bit_from_key_owner(uint32_t bits, int key, int row) {
    const uint32_t bit = bits >> (4 * (key / 8) + 2 * row + key % 2) & 1u;
    return __shfl_sync(0xffffffffu, bit, (lane() & ~3) | (key % 8 / 2)) != 0;
  }

  const KvTile& v_;
  const int tile_row_;
  const int32_t log2_box_keys_;
  const uint32_t keys_;
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_INFINITE_VALUES_CUH_
