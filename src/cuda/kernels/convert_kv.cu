// Bound by memory: a thread has all its loads under way before it stores.
#include "cuda/kernels/convert_kv.h"

#include "core/paged_kv.h"
#include "cuda/kernels/launch.h"
#include "cuda/kernels/prefill/launch.h"
#include "cuda/kernels/to_pairs.cuh"
#include "cuda/kernels/warp_search.cuh"
#include "cuda/sm90/ldst.cuh"
#include "cuda/sm90/sync.cuh"
#include "plan/kv_conversion.h"

namespace pagoda::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kCtas = 8 * 132;  // all of them at once on an H200
constexpr int kUnitKeys = 64;   // a CTA converts these of one head, then others
constexpr int kChunk = 8;       // channels that a thread converts at once
constexpr int kAtOnce = 4;      // of K and as many of V
static_assert(kConvertedTile % kUnitKeys == 0);

template <class KvT, class T>
PAGODA_DEVICE uint4 converted(uint2 bytes) {
  uint4 x;
  to_pairs<T>(KvT{}, bytes.x, x.x, x.y);
  to_pairs<T>(KvT{}, bytes.y, x.z, x.w);
  return x;
}

// Times 1 that is exact as well, and the kernel waits for memory anyway.
template <class KvT, class T>
PAGODA_DEVICE uint4 converted(uint2 bytes, float scale) {
  uint4 x;
  to_scaled_pairs<T>(KvT{}, bytes.x, scale, x.x, x.y);
  to_scaled_pairs<T>(KvT{}, bytes.y, scale, x.z, x.w);
  return x;
}

// 64 keys of one head of one sequence.
template <class KvT, class T>
class Unit {
 public:
  PAGODA_DEVICE Unit(const AttentionParams& params, const ConvertedKv& converted, int32_t seq,
                     int32_t first_row, int32_t head)
      : params_(params), pages_(page_ids(params.kv.block_table, seq)), head_(head) {
    const SequenceShape shape = sequence_shape(params, seq);
    num_keys_ = shape.k_len;
    first_key_ = converted_keys(params, shape).first + first_row -
                 converted.tile_begin[seq] * kConvertedTile;
    const int64_t num_rows = int64_t{converted.capacity} * kConvertedTile;
    first_row_ = head * num_rows + first_row;
  }

  PAGODA_DEVICE void convert(const ConvertedKv& to) const {
    const int32_t row_chunks = params_.head_dim / kChunk;
    const int32_t num_chunks = kUnitKeys * row_chunks;
    for (int32_t first = static_cast<int32_t>(threadIdx.x); first < num_chunks;
         first += kAtOnce * kThreads) {
      uint2 k[kAtOnce] = {};
      uint2 v[kAtOnce] = {};
      float v_scale[kAtOnce] = {};
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const int32_t chunk = first + i * kThreads;
        const int32_t key = first_key_ + chunk / row_chunks;
        if (chunk >= num_chunks || key >= num_keys_) continue;
        const TokenSlot slot = token_slot(pages_, params_.kv.page_size, key);
        k[i] = load(params_.kv.k, slot, chunk % row_chunks);
        v[i] = load(params_.kv.v, slot, chunk % row_chunks);
        const TokenScaleParams& scales = params_.kv.v_token_scale;
        v_scale[i] = scales.data == nullptr ? 1.0f : *scale_address(scales, slot, head_);
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const int32_t chunk = first + i * kThreads;
        if (chunk >= num_chunks) break;
        const int64_t element = first_row_ * params_.head_dim + chunk * kChunk;
        sm90::store_global_16(to.k + element, converted<KvT, T>(k[i]));
        sm90::store_global_16(to.v + element, converted<KvT, T>(v[i], v_scale[i]));
      }
    }
  }

  PAGODA_DEVICE void copy_key_scales(const ConvertedKv& to) const {
    const auto i = static_cast<int32_t>(threadIdx.x);
    if (i >= kUnitKeys) return;
    const int32_t key = first_key_ + i;
    float scale = 0.0f;
    if (key < num_keys_) {
      const TokenSlot slot = token_slot(pages_, params_.kv.page_size, key);
      scale = *scale_address(params_.kv.k_token_scale, slot, head_);
    }
    to.k_scale[first_row_ + i] = scale;
  }

 private:
  PAGODA_DEVICE uint2 load(const PagesParams& pages, TokenSlot slot, int32_t chunk) const {
    const auto* row = static_cast<const uint8_t*>(pages.data) + row_offset(pages, slot, head_);
    return *reinterpret_cast<const uint2*>(row + chunk * kChunk);
  }

  const AttentionParams& params_;
  const int32_t* pages_;
  const int32_t head_;
  int32_t num_keys_;
  int32_t first_key_;
  int64_t first_row_;  // among converted ones
};

template <class KvT, class T>
__global__ void __launch_bounds__(kThreads)
    convert_kv_kernel(const __grid_constant__ AttentionParams params,
                      const __grid_constant__ ConvertedKv converted) {
  sm90::wait_for_previous_grids();
  sm90::launch_dependent_grids();
  for (int32_t unit = static_cast<int32_t>(blockIdx.x);; unit += kCtas) {
    const int32_t first_row = unit / params.num_kv_heads * kUnitKeys;
    const int32_t seq = last_not_above_in_warp(converted.tile_begin, params.num_seqs + 1,
                                               first_row / kConvertedTile);
    if (seq == params.num_seqs) return;
    if (converted.tile_begin[seq + 1] > converted.capacity) return;  // nor do those behind it fit
    const Unit<KvT, T> keys(params, converted, seq, first_row, unit % params.num_kv_heads);
    if (has_token_scales(params.kv)) keys.copy_key_scales(converted);
    keys.convert(converted);
  }
}

template <class KvT, class T>
cudaError_t launch(const AttentionParams& params, const ConvertedKv& converted,
                   cudaStream_t stream) {
  return launch_dependent(convert_kv_kernel<KvT, T>,
                          {.ctas = dim3(kCtas), .threads = kThreads, .smem_bytes = 0}, stream,
                          params, converted);
}

}  // namespace

cudaError_t launch_convert_kv(const AttentionParams& params, const ConvertedKv& converted,
                              cudaStream_t stream) {
  const bool e4m3 = params.kv.dtype == DType::kFloat8E4M3;
  if (params.kv.dtype == DType::kInt8) return launch<int8_t, BFloat16>(params, converted, stream);
  if (converted_dtype(params.q.dtype, has_token_scales(params.kv)) == DType::kBFloat16) {
    return e4m3 ? launch<Float8E4M3, BFloat16>(params, converted, stream)
                : launch<Float8E5M2, BFloat16>(params, converted, stream);
  }
  return e4m3 ? launch<Float8E4M3, Float16>(params, converted, stream)
              : launch<Float8E5M2, Float16>(params, converted, stream);
}

}  // namespace pagoda::cuda
