// From global to shared memory: Q rows, and K/V tiles through the block table. All threads of the
// CTA copy, 16 bytes at a time; page ids are looked up tiles ahead of their copies.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_LOAD_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_LOAD_CUH_

#include "core/paged_kv.h"
#include "cuda/kernels/attention/config.h"
#include "cuda/sm90/ldst.cuh"
#include "plan/item_rows.h"

namespace pagoda::cuda {

using sm90::smem_address;

// The query rows of an item, for one KV head; rows and channels that are not there are zeros.
template <class Config>
PAGODA_DEVICE void load_query(const AttentionParams& params, const ItemRows& rows, int32_t kv_head,
                              int num_rows, SwizzledTile<Config, kMaxItemRows>& tile) {
  using Tile = SwizzledTile<Config, kMaxItemRows>;
  const auto* q = static_cast<const typename Config::T*>(params.q.data);
  const uint32_t smem = smem_address(tile.elements);
  for (int i = threadIdx.x; i < num_rows * Tile::kChunks; i += Config::kThreads) {
    const int row = i / Tile::kChunks;
    const int chunk = i % Tile::kChunks;
    const bool there = row < rows.num_rows && chunk * 8 < params.head_dim;
    int64_t offset = 0;
    if (there) {
      offset = row_offset(params.q, rows.first_token + rows.q_idx(row), rows.q_head(kv_head, row)) +
               chunk * 8;
    }
    sm90::cp_async_16(smem + Tile::chunk_offset(row, chunk), q + offset, there ? 16 : 0);
  }
}

// K/V tiles of one item, on the absolute grid of kTileKeys; keys outside `kv` are not there.
template <class Config>
struct KvLoader {
  using T = typename Config::T;
  const T* k;  // of the item's KV head
  const T* v;
  const int32_t* pages;
  const PagedKvParams& params;
  int32_t head_dim;
  KvRange kv;

  PAGODA_DEVICE KvLoader(const AttentionParams& attention, const WorkItem& item, KvRange range)
      : k(static_cast<const T*>(attention.kv.k.data) + item.kv_head * attention.kv.k.head_stride),
        v(static_cast<const T*>(attention.kv.v.data) + item.kv_head * attention.kv.v.head_stride),
        pages(page_ids(attention.kv.block_table, item.seq)),
        params(attention.kv),
        head_dim(attention.head_dim),
        kv(range) {}

  // One key's part of a tile's offsets: the page id is read here, long before it is needed.
  struct Place {
    int64_t k;
    int64_t v;
  };
  PAGODA_DEVICE Place find(int32_t tile) const {
    const int32_t key = tile * Config::kTileKeys + static_cast<int32_t>(threadIdx.x);
    if (threadIdx.x >= Config::kTileKeys || key < kv.begin || key >= kv.end) return {-1, -1};
    const TokenSlot slot = token_slot(pages, params.page_size, key);
    return {row_offset(params.k, slot, 0), row_offset(params.v, slot, 0)};
  }

  PAGODA_DEVICE void note(Place place, TileOffsets<Config>& offsets) const {
    if (threadIdx.x >= Config::kTileKeys) return;
    offsets.k[threadIdx.x] = place.k;
    offsets.v[threadIdx.x] = place.v;
  }

  PAGODA_DEVICE void copy(const TileOffsets<Config>& offsets, KvStage<Config>& stage) const {
    copy_rows(k, offsets.k, stage.k);
    copy_rows(v, offsets.v, stage.v);
  }

 private:
  using Tile = SwizzledTile<Config, Config::kTileKeys>;

  PAGODA_DEVICE void copy_rows(const T* base, const int64_t* offsets, Tile& tile) const {
    const uint32_t smem = smem_address(tile.elements);
    const int chunk = threadIdx.x % Tile::kChunks;
    constexpr int kRowsPerPass = Config::kThreads / Tile::kChunks;
    for (int row = threadIdx.x / Tile::kChunks; row < Config::kTileKeys; row += kRowsPerPass) {
      const int64_t offset = offsets[row];
      const bool there = offset >= 0 && chunk * 8 < head_dim;
      sm90::cp_async_16(smem + Tile::chunk_offset(row, chunk),
                        base + (there ? offset + chunk * 8 : 0), there ? 16 : 0);
    }
  }
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_LOAD_CUH_
