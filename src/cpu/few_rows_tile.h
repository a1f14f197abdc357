// What the few-rows kernels read: a tile of keys of one sequence, where its rows lie, and which
// rows are fetched meanwhile.
#ifndef PAGODA_CPU_FEW_ROWS_TILE_H_
#define PAGODA_CPU_FEW_ROWS_TILE_H_

#include "core/arith.h"
#include "core/paged_kv.h"
#include "cpu/kernels.h"
#include "cpu/lane_blocks.h"
#include "cpu/load_rows.h"
#include "cpu/simd.h"
#include "semantics/mask.h"

namespace pagoda::cpu {
namespace {

// Where the rows of a tile of kTileKeys keys lie, which Arithmetic chooses, without their head.
// Past num_keys the last key repeats, so that whole tiles can be read.
template <int kTileKeys>
struct KeyRows {
  int32_t begin;
  int32_t num_keys;  // 1 to kTileKeys, or 0
  int64_t k_offset[kTileKeys];
  int64_t v_offset[kTileKeys];
  const float* k_scale[kTileKeys];  // of KV head 0; only where there are scales per token
  const float* v_scale[kTileKeys];

  KeyRows() = default;
  PAGODA_HD KeyRows(const PagedKvParams& kv, const int32_t* pages, KvRange keys)
      : begin(keys.begin), num_keys(max_of(keys.size(), 0)) {
    if (num_keys == 0) return;
    const int32_t* page = pages + begin / kv.page_size;
    TokenSlot slot{*page, begin % kv.page_size};
    for (int i = 0; i < kTileKeys; ++i) {
      k_offset[i] = row_offset(kv.k, slot, 0);
      v_offset[i] = row_offset(kv.v, slot, 0);
      if (has_token_scales(kv)) {
        k_scale[i] = scale_address(kv.k_token_scale, slot, 0);
        v_scale[i] = scale_address(kv.v_token_scale, slot, 0);
      }
      if (i + 1 >= num_keys) continue;
      if (++slot.offset == kv.page_size) slot = {*++page, 0};
    }
  }
};

// Brings the rows of a later tile into L2, a few at a time between those being computed: in bursts
// they would wait for each other. They come in the order of an NHD cache in memory, all heads of a
// token before the next token, so that the DRAM and the processor's own prefetcher see a stream.
// A processor whose queue of misses is full drops a prefetch, so each row is fetched a second time
// shortly before it is read: most of these find it in L2.
template <int kTileKeys>
class RowFetcher {
 public:
  PAGODA_HD RowFetcher(const PagedKvParams& kv, const KeyRows<kTileKeys>& later,
                       const WorkItem& item, int32_t head_dim, int32_t element_bytes)
      : k_(kv.k, later.k_offset, item.kv_head, element_bytes),
        v_(kv.v, later.v_offset, item.kv_head, element_bytes),
        row_bytes_(head_dim * element_bytes),
        num_heads_(item.num_kv_heads),
        num_keys_(later.num_keys) {
    start_key();
  }

  // The next head of the tile being computed: time for as many rows as it has itself. What is
  // computed after it are the rows of `kv_head` in `soon`.
  PAGODA_HD void start_head(const PagedKvParams& kv, const KeyRows<kTileKeys>& soon,
                            int32_t kv_head) {
    soon_k_ = Rows(kv.k, soon.k_offset, kv_head, k_.element_bytes);
    soon_v_ = Rows(kv.v, soon.v_offset, kv_head, v_.element_bytes);
    row_ = 0;
    num_soon_ = soon.num_keys;
  }

  // K and V of the next `count` keys and heads.
  PAGODA_HD void fetch(int32_t count) {
    for (const int32_t end = min_of(row_ + count, kTileKeys); row_ < end; ++row_) {
      fetch_later();
      if (row_ >= num_soon_) continue;
      soon_k_.start_key(row_);
      soon_v_.start_key(row_);
      prefetch_rows(soon_k_.row, soon_v_.row, row_bytes_);
    }
  }

 private:
  struct Rows {
    const char* first = nullptr;  // of the item's heads; + offset: a row
    const int64_t* offsets = nullptr;
    int64_t head_bytes = 0;
    int32_t element_bytes = 0;
    const char* row = nullptr;  // the next

    Rows() = default;
    PAGODA_HD Rows(const PagesParams& pages, const int64_t* row_offsets, int32_t kv_head,
                   int32_t bytes)
        : first(static_cast<const char*>(pages.data) + kv_head * pages.head_stride * bytes),
          offsets(row_offsets),
          head_bytes(pages.head_stride * bytes),
          element_bytes(bytes) {}

    PAGODA_HD void start_key(int32_t key) { row = first + offsets[key] * element_bytes; }
  };

  PAGODA_HD void start_key() {
    if (key_ >= num_keys_) return;
    k_.start_key(key_);
    v_.start_key(key_);
  }

  PAGODA_HD void fetch_later() {
    if (key_ >= num_keys_) return;
    prefetch_rows(k_.row, v_.row, row_bytes_);
    k_.row += k_.head_bytes;
    v_.row += v_.head_bytes;
    if (++head_ < num_heads_) return;
    head_ = 0;
    ++key_;
    start_key();
  }

  Rows k_;
  Rows v_;
  Rows soon_k_;
  Rows soon_v_;
  int32_t row_bytes_;
  int32_t num_heads_;
  int32_t num_keys_;
  int32_t num_soon_ = 0;
  int32_t head_ = 0;  // of the later tile
  int32_t key_ = 0;
  int32_t row_ = kTileKeys;  // of the head being computed: as many are fetched
};

template <int kTileKeys>
struct KeyTile {
  const KeyRows<kTileKeys>& keys;
  const KeyRows<kTileKeys>& following;  // the tile after it
  bool masked;                          // some row does not see some key
  RowFetcher<kTileKeys>* fetcher;
};

// The rows of one head in one tile.
template <class T, int kTileKeys>
struct HeadTile {
  const KeyTile<kTileKeys>& tile;
  const T* k;  // + k_offset: a row
  const T* v;
  bool has_token_scales;
  alignas(64) float k_scale[kTileKeys];
  alignas(64) float v_scale[kTileKeys];
};

// The values that rows add up: where they lie, and each row's weight of each.
template <int kRows, int kTileKeys>
struct Weighed {
  int32_t num_keys;
  int64_t v_offset[kTileKeys];
  alignas(64) float weights[kRows][kTileKeys];
  float factors[kRows];  // of what the rows have so far
};

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_FEW_ROWS_TILE_H_
