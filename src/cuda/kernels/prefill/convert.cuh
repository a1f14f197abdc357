// What the fetching warpgroup does for 8-bit K and V, and for 8-bit Q.
#ifndef PAGODA_CUDA_KERNELS_PREFILL_CONVERT_CUH_
#define PAGODA_CUDA_KERNELS_PREFILL_CONVERT_CUH_

#include "cuda/kernels/prefill/copy_query.cuh"
#include "cuda/kernels/prefill/fetch.cuh"
#include "cuda/kernels/prefill/tile_converter.cuh"
#include "cuda/kernels/prefill/walk_along.cuh"
#include "cuda/kernels/to_pairs.cuh"
#include "cuda/query_boxes.h"
#include "plan/kv_conversion.h"

namespace pagoda::cuda {

// 8-bit rows of the query tile.
template <class Config>
PAGODA_DEVICE void convert_query(const AttentionParams& params, const PieceSlot& slot, int warp,
                                 typename Config::QueryTile& tile) {
  const auto* q = static_cast<const uint8_t*>(params.q.data);
  for_each_query_chunk<Config>(
      params, slot, warp, [&](int row, int column, int64_t from, bool there) {
        const uint2 bytes = there ? *reinterpret_cast<const uint2*>(q + from) : uint2{};
        uint4 x;
        to_pairs<typename Config::T>(Float8E4M3{}, bytes.x, x.x, x.y);
        to_pairs<typename Config::T>(Float8E4M3{}, bytes.y, x.z, x.w);
        sm90::store_shared_16(tile.address(row, column), x);
      });
}

// A group of copies begins, which is empty where Q comes otherwise.
template <class Config>
PAGODA_DEVICE void begin_query(const AttentionParams& params, const QueryBoxes& boxes,
                               const PieceSlot& slot, int warp, typename Config::QueryTile& tile,
                               sm90::Mbarrier& full) {
  if (boxes.usable) {
    if (sm90::elect_one()) {
      load_query_boxes<Config>(params, boxes, slot, tile, full, sm90::l2_evict_first());
    }
    sm90::cp_async_commit();
  } else if (params.q.dtype == DType::kFloat8E4M3) {
    convert_query<Config>(params, slot, warp, tile);
    sm90::cp_async_commit();
  } else {
    copy_query<Config>(params, slot, warp, tile);
  }
}

// Where key 0 of a sequence would lie among converted keys; INT32_MIN if it is not converted.
PAGODA_DEVICE int32_t converted_origin(const AttentionParams& params, const ConvertedKv& converted,
                                       const SequenceShape& shape) {
  if (converted.capacity == 0) return INT32_MIN;
  const int32_t begin = converted.tile_begin[shape.seq];
  const int32_t end = converted.tile_begin[shape.seq + 1];
  if (begin == end || end > converted.capacity) return INT32_MIN;
  return begin * kConvertedTile - converted_keys(params, shape).first;
}

// The warp that asks the copy engine for Q; others may be held up by K and V.
constexpr int kQueryBoxWarp = 2;

// All that one of the warps does. The first one walks the share besides.
template <class Config>
PAGODA_DEVICE void fetch_and_convert(const AttentionParams& params, const Work& work,
                                     const PrefillBoxes& boxes, int warp,
                                     PrefillSmem<Config>& smem) {
  TileConverter<Config> converter(params, warp, smem);
  typename TileConverter<Config>::Progress progress;
  const auto use = [&](const PieceSlot& slot, const auto& cursor) {
    sm90::keep_in_memory(cursor);
    const typename Config::QueryCursor at = Config::query_cursor(cursor);
    auto& query = smem.queries[at.stage];
    sm90::keep_in_memory(progress);
    const auto begin = [&] {
      if (boxes.query.usable && warp != kQueryBoxWarp) return sm90::cp_async_commit();
      smem.query_ring.acquire(at);
      begin_query<Config>(params, boxes.query, slot, warp, query, smem.query_ring.full(at));
    };
    const auto finish = [&] {
      if (boxes.query.usable) return;
      sm90::fence_smem_for_async_proxy();
      sm90::arrive(smem.query_ring.full(at));
    };
    const int32_t origin = converted_origin(params, work.converted, slot.piece.shape);
    if (origin == INT32_MIN) {
      converter.convert(slot.piece, progress, begin, finish);
    } else {
      converter.fetch(slot.piece, work.converted, boxes.kv, origin, progress, begin, finish);
    }
  };
  if (warp > 0) {
    for_each_piece(smem.pieces, use);
    return converter.end(progress);
  }
  PiecePublisher<Config::kPieces> publisher(smem.pieces);
  walk_along(params, work, [&](auto& walk) {
    const auto cursor = publisher.publish(params, walk.piece());
    sm90::keep_in_memory(walk);  // registers are few
    sm90::keep_in_memory(publisher);
    use(smem.pieces.slots[cursor.stage], cursor);
  });
  publisher.finish();
  converter.end(progress);
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PREFILL_CONVERT_CUH_
