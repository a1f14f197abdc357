// A strip: some consecutive keys of one KV head, packed as the arithmetic wants them, whatever
// pages they lie in and whatever type they are stored as.
#ifndef PAGODA_CPU_KV_STRIP_H_
#define PAGODA_CPU_KV_STRIP_H_

#include "core/attention_params.h"
#include "core/paged_kv.h"
#include "cpu/kernels.h"
#include "cpu/load_rows.h"
#include "semantics/mask.h"

namespace pagoda::cpu {
namespace {

// Stands for rows that are absent or set aside: zeros of every type.
alignas(64) constexpr float kZeroRow[kMaxHeadDim] = {};

struct StripRequest {
  int32_t seq;
  int32_t kv_head;
  KvRange keys;             // at most kStripKeys
  bool set_infinite_aside;  // some row does not see some key
};

struct Strip {
  int32_t begin;
  int32_t num_keys;
  TokenSlot slots[kStripKeys];
  float k_scale[kStripKeys];  // 1 without scales per token
  float v_scale[kStripKeys];  // is in the strip's V
  // Keys whose V may not be finite, in whose place the strip has zeros; only if that was asked for.
  struct Infinite {
    int32_t key;
    float v_scale;
  };
  int32_t num_infinite;
  Infinite infinite[kStripKeys];

  // Arithmetic: see many_rows_f32.h. Rows past the last key are zeros.
  template <class Arithmetic>
  void load(const AttentionParams& params, const StripRequest& request,
            typename Arithmetic::Element* k, typename Arithmetic::Element* v) {
    const PagedKvParams& kv = params.kv;
    begin = request.keys.begin;
    num_keys = request.keys.size();
    num_infinite = 0;
    const bool are_scaled = has_token_scales(kv);
    const int32_t* pages = page_ids(kv.block_table, request.seq);
    for (int32_t i = 0; i < kStripKeys; ++i) {
      k_scale[i] = v_scale[i] = 1.0f;
      if (i >= num_keys) continue;
      const TokenSlot slot = slots[i] = token_slot(pages, kv.page_size, begin + i);
      if (!are_scaled) continue;
      k_scale[i] = *scale_address(kv.k_token_scale, slot, request.kv_head);
      v_scale[i] = *scale_address(kv.v_token_scale, slot, request.kv_head);
    }
    visit_dtype(kv.dtype, [&](auto type) {
      using T = decltype(type);
      if constexpr (Arithmetic::template kHolds<T>) {
        const T* rows[kStripKeys];
        find_rows(kv.k, request.kv_head, rows);
        Arithmetic::load_keys(rows, params.head_dim, k);
        find_rows(kv.v, request.kv_head, rows);
        if (request.set_infinite_aside) set_infinite_aside(rows, params.head_dim);
        Arithmetic::load_values(rows, are_scaled ? v_scale : nullptr, params.head_dim, v);
      }
    });
  }

  // Brings into L2 what load() will read: part `part` of `num_parts`, between which there is time.
  PAGODA_HD static void fetch(const AttentionParams& params, const StripRequest& request,
                              int32_t part, int32_t num_parts) {
    const PagedKvParams& kv = params.kv;
    const int32_t* pages = page_ids(kv.block_table, request.seq);
    const auto bytes = static_cast<int32_t>(size_of(kv.dtype));
    const int32_t num_keys = request.keys.size();
    const int32_t end = request.keys.begin + num_keys * (part + 1) / num_parts;
    for (int32_t t = request.keys.begin + num_keys * part / num_parts; t < end; ++t) {
      const TokenSlot slot = token_slot(pages, kv.page_size, t);
      for (const PagesParams* rows : {&kv.k, &kv.v}) {
        prefetch_row(
            static_cast<const char*>(rows->data) + row_offset(*rows, slot, request.kv_head) * bytes,
            params.head_dim * bytes);
      }
    }
  }

  // V of such a key, with its scale; `row` has room for whole vectors.
  void load_value(const AttentionParams& params, int32_t kv_head, Infinite infinite_key,
                  float* row) const {
    visit_dtype(params.kv.dtype, [&](auto type) {
      load_row(row,
               static_cast<const decltype(type)*>(params.kv.v.data) +
                   row_offset(params.kv.v, slots[infinite_key.key], kv_head),
               params.head_dim);
    });
    scale_row(row, infinite_key.v_scale, params.head_dim);
  }

 private:
  // Any V times a smaller scale is finite.
  static constexpr float kLargeScale = 0x1p100f;

  template <class T>
  PAGODA_HD void find_rows(const PagesParams& pages, int32_t kv_head,
                           const T* (&rows)[kStripKeys]) const {
    for (int32_t i = 0; i < kStripKeys; ++i) {
      rows[i] = i < num_keys
                    ? static_cast<const T*>(pages.data) + row_offset(pages, slots[i], kv_head)
                    : reinterpret_cast<const T*>(kZeroRow);
    }
  }

  template <class T>
  PAGODA_HD void set_infinite_aside(const T* (&rows)[kStripKeys], int32_t head_dim) {
    for (int32_t i = 0; i < num_keys; ++i) {
      // Of a hidden key the scale may be anything, NaN too.
      const bool small_scale = v_scale[i] > -kLargeScale && v_scale[i] < kLargeScale;
      if (small_scale && is_finite_row(rows[i], head_dim)) continue;
      infinite[num_infinite++] = {i, v_scale[i]};
      rows[i] = reinterpret_cast<const T*>(kZeroRow);
      v_scale[i] = 1.0f;
    }
  }
};

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_KV_STRIP_H_
