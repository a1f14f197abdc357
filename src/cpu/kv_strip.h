// A strip: some consecutive keys of one KV head, widened to f32 and packed, whatever pages they lie
// in and whatever type they are stored as.
#ifndef PAGODA_CPU_KV_STRIP_H_
#define PAGODA_CPU_KV_STRIP_H_

#include "core/attention_params.h"
#include "core/paged_kv.h"
#include "cpu/kernels.h"
#include "cpu/load_rows.h"
#include "semantics/mask.h"

namespace pagoda::cpu {
namespace {

struct StripArrays {
  float* k;  // [kStripKeys, head_dim]
  float* v;
};

struct Strip {
  int32_t begin;
  int32_t num_keys;
  int32_t head_dim;
  bool has_token_scales;
  TokenSlot slots[kStripKeys];
  float k_scale[kStripKeys];  // 1 without scales per token
  float v_scale[kStripKeys];
  // Keys whose V is not finite: set_infinite_aside() lists them and puts zeros in their place.
  int32_t num_infinite;
  int32_t infinite[kStripKeys];

  // At most kStripKeys keys. Keys past the last are zeros in K.
  void load(const AttentionParams& params, int32_t seq, int32_t kv_head, KvRange keys,
            StripArrays arrays) {
    begin = keys.begin;
    num_keys = keys.size();
    head_dim = params.head_dim;
    has_token_scales = params.kv.k_token_scale.data != nullptr;
    num_infinite = 0;
    const int32_t* pages = page_ids(params.kv.block_table, seq);
    for (int32_t i = 0; i < num_keys; ++i) {
      slots[i] = token_slot(pages, params.kv.page_size, begin + i);
    }
    visit_dtype(params.kv.dtype,
                [&](auto type) { widen_keys<decltype(type)>(params.kv, kv_head, arrays); });
    __builtin_memset(arrays.k + num_keys * head_dim, 0,
                     sizeof(float) * static_cast<size_t>((kStripKeys - num_keys) * head_dim));
  }

  void set_infinite_aside(StripArrays arrays) {
    for (int32_t i = 0; i < num_keys; ++i) {
      float* v = arrays.v + i * head_dim;
      float zero = 0.0f;
      for (int32_t d = 0; d < head_dim; ++d) zero += v[d] - v[d];
      if (zero == 0.0f) continue;
      infinite[num_infinite++] = i;
      __builtin_memset(v, 0, sizeof(float) * static_cast<size_t>(head_dim));
    }
  }

  // V of key i, as it is stored; `row` has room for whole vectors.
  void load_value(const AttentionParams& params, int32_t kv_head, int32_t i, float* row) const {
    visit_dtype(params.kv.dtype, [&](auto type) {
      load_row(row,
               static_cast<const decltype(type)*>(params.kv.v.data) +
                   row_offset(params.kv.v, slots[i], kv_head),
               head_dim);
    });
  }

 private:
  template <class T>
  PAGODA_HD void widen_keys(const PagedKvParams& kv, int32_t kv_head, StripArrays arrays) {
    for (int32_t i = 0; i < num_keys; ++i) {
      const TokenSlot slot = slots[i];
      widen_row(arrays.k + i * head_dim,
                static_cast<const T*>(kv.k.data) + row_offset(kv.k, slot, kv_head));
      widen_row(arrays.v + i * head_dim,
                static_cast<const T*>(kv.v.data) + row_offset(kv.v, slot, kv_head));
      k_scale[i] = has_token_scales ? *scale_address(kv.k_token_scale, slot, kv_head) : 1.0f;
      v_scale[i] = has_token_scales ? *scale_address(kv.v_token_scale, slot, kv_head) : 1.0f;
    }
  }

  // Rows are packed, so the last vector must not run over into the next row.
  template <class T>
  PAGODA_HD void widen_row(float* destination, const T* source) const {
    int32_t d = 0;
    for (; d + kLanes <= head_dim; d += kLanes) {
      load_elements(source + d, kLanes).store(destination + d);
    }
    if (d < head_dim) {
      const F32 half = load_elements(source + d, kLanes / 2);
      __builtin_memcpy(destination + d, &half, kVectorBytes / 2);
    }
  }
};

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_KV_STRIP_H_
