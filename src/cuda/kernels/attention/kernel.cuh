// The attention kernel: persistent CTAs take work items one after the other. In an item of few rows
// each warp takes its own quarter of every tile's keys and the warps' results are joined at the
// end; in an item of many rows each warp takes its own 16 rows and all keys.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_KERNEL_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_KERNEL_CUH_

#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/attention/epilogue.cuh"
#include "cuda/kernels/attention/load.cuh"
#include "cuda/kernels/attention/math.cuh"

namespace pagoda::cuda {

// An item's rows over the keys `kv`: into smem.out and smem.state, one row each.
template <class Config>
PAGODA_DEVICE void compute_rows(const AttentionParams& params, const WorkItem& item,
                                const ItemRows& rows, KvRange kv, SmemPlan<Config>& smem) {
  constexpr int kStages = Config::kStages;
  constexpr int kSlots = kStages + 1;
  const int warp = threadIdx.x / 32;
  const bool few_rows = item.route == Route::kFewRows;
  const int first_row = few_rows ? 0 : warp * Config::kWarpRows;
  const int first_key = few_rows ? warp * kChunkKeys : 0;  // the warp's keys of every tile
  const int last_key = few_rows ? first_key + kChunkKeys : Config::kTileKeys;
  const WarpRows warp_rows(params, rows, item.kv_head, first_row);
  WarpMath<Config> math(params, rows, warp_rows, logit_scale(params, item.seq, item.kv_head));
  const KvLoader<Config> loader(params, item, kv);

  const int32_t first_tile = kv.begin / Config::kTileKeys;
  const int32_t num_tiles = kv.empty() ? 0 : ceil_div(kv.end, Config::kTileKeys) - first_tile;

  load_query<Config>(params, rows, item.kv_head, few_rows ? kFewRows : kMaxItemRows, smem.query());
  sm90::cp_async_commit();
  for (int i = 0; i < kStages; ++i) {
    loader.note(loader.find(first_tile + i), smem.offsets[i]);
  }
  __syncthreads();
  for (int i = 0; i < kStages - 1; ++i) {
    if (i < num_tiles) loader.copy(smem.offsets[i], smem.stages[i]);
    sm90::cp_async_commit();
  }
  sm90::cp_async_wait<kStages - 1>();
  __syncthreads();
  math.take_query(smem.query(), first_row);
  math.start();

  for (int i = 0; i < num_tiles; ++i) {
    sm90::cp_async_wait<kStages - 2>();
    __syncthreads();  // tile i has arrived; every warp is done with tile i - 1
    const int ahead = i + kStages - 1;
    if (ahead < num_tiles) loader.copy(smem.offsets[ahead % kSlots], smem.stages[ahead % kStages]);
    sm90::cp_async_commit();
    const auto place = loader.find(first_tile + ahead + 1);

    const KvStage<Config>& stage = smem.stages[i % kStages];
    const int32_t key = (first_tile + i) * Config::kTileKeys;
    if (warp_rows.active) {
#pragma unroll 1
      for (int c = first_key; c < last_key; c += kChunkKeys) math.attend(stage, c, key + c, kv);
    }
    loader.note(place, smem.offsets[(ahead + 1) % kSlots]);
  }
  sm90::cp_async_wait<0>();
  __syncthreads();
  math.store(smem.out, smem.state, warp * Config::kWarpRows);
  __syncthreads();
  if (few_rows) {
    for (int w = 1; w < Config::kWarps; ++w) {
      const Rows part{smem.out + w * kFewRows * Config::kHeadDim, smem.state + w * kFewRows};
      join_rows<Config>({smem.out, smem.state}, Config::kHeadDim, part, Config::kHeadDim,
                        item.num_rows, params.head_dim);
    }
    __syncthreads();
  }
}

// Calls compute(kv) for each part of the item's keys that has partial results of its own: all of
// them, or under a fixed split each cell of the grid.
template <class Compute>
PAGODA_DEVICE void for_each_split(const AttentionParams& params, const WorkItem& item,
                                  Compute&& compute) {
  const bool fixed = params.split_policy == SplitPolicy::kFixed;
  const int64_t cell = params.fixed_split_keys;
  int64_t begin = item.kv_begin;
  do {
    const int64_t cell_end = fixed ? (begin / cell + 1) * cell : item.kv_end;
    const int64_t end = min_of(int64_t{item.kv_end}, cell_end);
    compute(KvRange{static_cast<int32_t>(begin), static_cast<int32_t>(end)});
    begin = end;
  } while (begin < item.kv_end);
}

// Where the rows of one split go: to the item's partial results, to the output, or by way of the
// CTA's total, where they meet the item's other splits.
template <class Config>
PAGODA_DEVICE void emit_rows(const AttentionParams& params, const Work& work, const WorkItem& item,
                             const ItemRows& rows, KvRange kv, int64_t partial_row,
                             SmemPlan<Config>& smem) {
  const int32_t head_dim = params.head_dim;
  const Rows computed{smem.out, smem.state};
  const bool first = kv.begin <= item.kv_begin;
  const bool last = kv.end >= item.kv_end;
  if (item.merge_group >= 0) {
    copy_rows<Config>(rows_from(work.partials, partial_row, head_dim), head_dim, computed,
                      Config::kHeadDim, item.num_rows, head_dim);
    return;
  }
  const Rows total = rows_from(work.totals, int64_t{blockIdx.x} * kMaxItemRows, head_dim);
  if (first && last) {
    finish_rows<Config>(params, rows, item.kv_head, computed, Config::kHeadDim);
  } else if (first) {
    copy_rows<Config>(total, head_dim, computed, Config::kHeadDim, item.num_rows, head_dim);
  } else {
    join_rows<Config>(total, head_dim, computed, Config::kHeadDim, item.num_rows, head_dim);
    if (last) finish_rows<Config>(params, rows, item.kv_head, total, head_dim);
  }
}

template <class Config>
PAGODA_DEVICE void process_item(const AttentionParams& params, const Work& work,
                                const WorkItem& item, SmemPlan<Config>& smem) {
  const ItemRows rows(params, item);
  int64_t partial_row = item.partial_row;
  for_each_split(params, item, [&](KvRange kv) {
    compute_rows<Config>(params, item, rows, kv, smem);
    emit_rows<Config>(params, work, item, rows, kv, partial_row, smem);
    partial_row += item.num_rows;
    __syncthreads();
  });
  if (item.merge_group < 0) return;
  const MergeGroup group = work.groups[item.merge_group];
  if (arrive(&work.arrivals[item.merge_group], group.num_items, &smem.is_last)) {
    merge_group<Config>(params, rows, work, group, {smem.out, smem.state});
  }
}

template <class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kCtasPerSm)
    attention_kernel(const __grid_constant__ AttentionParams params,
                     const __grid_constant__ Work work) {
  extern __shared__ char memory[];
  auto& smem = *reinterpret_cast<SmemPlan<Config>*>(memory);
  const int32_t num_items = work.header->num_items;
  while (true) {
    __syncthreads();
    if (threadIdx.x == 0) smem.item = atomicAdd(&work.header->next_item, 1);
    __syncthreads();
    const int32_t index = smem.item;
    if (index >= num_items) break;
    // From the back: later row tiles of a causal sequence are the long ones.
    process_item<Config>(params, work, work.items[num_items - 1 - index], smem);
  }
  if (threadIdx.x == 0 &&
      atomicAdd(&work.header->finished_ctas, 1) + 1 == static_cast<int32_t>(gridDim.x)) {
    work.header->next_item = 0;
    work.header->finished_ctas = 0;
  }
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_KERNEL_CUH_
