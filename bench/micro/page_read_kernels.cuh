// Kernels that read every page of a paged cache and do nothing else. A cache holds `num_seqs`
// sequences of `pages_per_seq` pages; a page holds the rows of all heads, 128 elements of 2 bytes
// each. Sequences, heads and pages make one long list in that order, cut into stages of
// kStageTokens tokens of one (sequence, head), which are dealt out to the CTAs in equal shares of
// consecutive stages.
#ifndef PAGODA_BENCH_MICRO_PAGE_READ_KERNELS_CUH_
#define PAGODA_BENCH_MICRO_PAGE_READ_KERNELS_CUH_

#include "checksum.cuh"
#include "core/arith.h"
#include "cuda/sm90/ldst.cuh"
#include "cuda/sm90/sync.cuh"
#include "cuda/sm90/tma.cuh"
#include "cuda/tensor_map.h"
#include "cuda/tile/pipeline.cuh"

namespace pagoda::micro {

constexpr int kRowBytes = 256;    // 128 x bf16
constexpr int kPanelBytes = 128;  // what one swizzled box is wide

// When the id of a page is read from the table.
enum class IdsRead : int32_t {
  kJustBefore,  // in the issue path, one by one
  kInBatches,   // 32 at a time, when the last 32 are used up
  kAhead        // 32 at a time, while the last 32 are in use
};

struct PageCache {
  const int32_t* page_ids;  // [num_seqs, pages_per_seq]
  const uint8_t* data;
  int64_t page_stride, token_stride, head_stride;  // in bytes
  int32_t num_seqs;
  // Powers of two, by their logarithms: what is measured is not the division.
  int32_t log2_pages_per_seq, log2_num_heads, log2_page_tokens;

  PAGODA_HD int32_t pages_per_seq() const { return 1 << log2_pages_per_seq; }
  PAGODA_HD int32_t page_tokens() const { return 1 << log2_page_tokens; }
  PAGODA_HD int32_t num_pages() const {  // of all heads
    return num_seqs << (log2_num_heads + log2_pages_per_seq);
  }
};

struct StageRange {
  int32_t begin, end;
};

PAGODA_DEVICE StageRange share_of_cta(const PageCache& cache, int stage_pages) {
  const int64_t stages = cache.num_pages() / stage_pages;
  return {static_cast<int32_t>(stages * blockIdx.x / gridDim.x),
          static_cast<int32_t>(stages * (blockIdx.x + 1) / gridDim.x)};
}

// A place in the list of pages: sequence, head and page within the sequence.
struct PagePlace {
  int32_t seq, head, page;
};

PAGODA_DEVICE PagePlace place_of(const PageCache& cache, int32_t at) {
  const int32_t row = at >> cache.log2_pages_per_seq;
  return {row >> cache.log2_num_heads, row & ((1 << cache.log2_num_heads) - 1),
          at & (cache.pages_per_seq() - 1)};
}

PAGODA_DEVICE int32_t load_page_id(const PageCache& cache, int32_t at, int32_t end) {
  if (at >= end) return 0;
  const PagePlace place = place_of(cache, at);
  return cache.page_ids[(place.seq << cache.log2_pages_per_seq) + place.page];
}

// A warp's view of the ids of consecutive pages, `begin` ... `end` of the list. All lanes call.
template <IdsRead kIdsRead>
class PageIds {
 public:
  PAGODA_DEVICE PageIds(const PageCache& cache, int32_t begin, int32_t end)
      : cache_(cache), base_(begin), end_(end) {
    if constexpr (kIdsRead != IdsRead::kJustBefore) current_ = load(base_);
    if constexpr (kIdsRead == IdsRead::kAhead) next_ = load(base_ + 32);
  }

  // The id of page `first + offset`; `first` is the same in all lanes and never goes back, `offset`
  // is each lane's own, and first + max(offset) is within 32 of the batch that first is in.
  PAGODA_DEVICE int32_t get(int32_t first, int offset) {
    if constexpr (kIdsRead == IdsRead::kJustBefore) {
      return load_page_id(cache_, first + offset, end_);
    } else {
      if (first >= base_ + 32) {
        base_ += 32;
        if constexpr (kIdsRead == IdsRead::kAhead) {
          current_ = next_;
          next_ = load(base_ + 32);
        } else {
          current_ = load(base_);
        }
      }
      return __shfl_sync(0xffffffff, current_, first - base_ + offset);
    }
  }

 private:
  PAGODA_DEVICE int32_t load(int32_t base) const {
    return load_page_id(cache_, base + static_cast<int32_t>(threadIdx.x % 32), end_);
  }

  const PageCache& cache_;
  int32_t base_, end_;
  int32_t current_ = 0, next_ = 0;
};

struct BoxShape {
  int32_t panels;       // 1: a box of one panel (4-D map), 2: of both (5-D map)
  int32_t evict_first;  // 0: no hint to L2
};

// One warp issues a box per page and panel, four warps read what arrives.
constexpr int kReaders = 128;
constexpr int kTmaThreads = kReaders + 32;

template <int kStages, int kStageTokens, IdsRead kIdsRead>
__global__ __launch_bounds__(kTmaThreads) void read_pages_by_tma(
    const __grid_constant__ cuda::TensorMap map, PageCache cache, BoxShape box,
    uint32_t* checksum) {
  constexpr int kStageBytes = kStageTokens * kRowBytes;
  extern __shared__ __align__(1024) uint8_t stages[];
  __shared__ tile::Pipeline<kStages> pipeline;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) pipeline.init(1, kReaders / 32);
  __syncthreads();

  const int stage_pages = kStageTokens >> cache.log2_page_tokens;
  const StageRange share = share_of_cta(cache, stage_pages);
  tile::PipelineCursor<kStages> cursor;
  if (thread >= kReaders) {
    const int lane = thread % 32;
    const int log2_boxes_per_page = 2 - box.panels;
    const int box_bytes = cache.page_tokens() * kPanelBytes * box.panels;
    const sm90::L2Policy policy =
        box.evict_first != 0 ? sm90::l2_evict_first() : sm90::l2_evict_normal();
    const int page = min_of(lane >> log2_boxes_per_page, stage_pages - 1);
    const int panel = lane & log2_boxes_per_page;
    PageIds<kIdsRead> ids(cache, share.begin * stage_pages, share.end * stage_pages);
    for (int32_t i = share.begin; i < share.end; ++i, cursor.advance()) {
      const int32_t first = i * stage_pages;
      const PagePlace place = place_of(cache, first);
      pipeline.acquire(cursor);
      const int32_t id = ids.get(first, page);
      sm90::Mbarrier& full = pipeline.full(cursor);
      if (lane == 0) sm90::arrive_expect_bytes(full, kStageBytes);
      if (lane >= (stage_pages << log2_boxes_per_page)) continue;
      if (box.panels == 1) {
        const int column = panel * stage_pages + page;  // panels side by side: [panel][token]
        sm90::load_box(stages + cursor.stage * kStageBytes + column * box_bytes, &map, full,
                       sm90::BoxStart{panel * 64, place.head, 0, id}, policy);
      } else {
        sm90::load_box(stages + cursor.stage * kStageBytes + page * box_bytes, &map, full,
                       sm90::BoxStart{0, 0, 0, place.head, id}, policy);
      }
    }
    return;
  }
  Checksum sum;
  for (int32_t i = share.begin; i < share.end; ++i, cursor.advance()) {
    pipeline.wait(cursor);
    const uint32_t stage = sm90::smem_address(stages + cursor.stage * kStageBytes);
#pragma unroll 8
    for (int at = thread * 16; at < kStageBytes; at += kReaders * 16) {
      sum.add(sm90::load_shared_16(stage + at));
    }
    __syncwarp();
    if (thread % 32 == 0) pipeline.release(cursor);
  }
  sum.add_to(checksum);
}

// All warps copy rows of 16-byte pieces, then read what the others copied.
template <int kThreads, int kStages, int kStageTokens, IdsRead kIdsRead>
__global__ __launch_bounds__(kThreads) void read_pages_by_cp_async(PageCache cache,
                                                                   uint32_t* checksum) {
  constexpr int kStageBytes = kStageTokens * kRowBytes;
  constexpr int kRowsAtOnce = kThreads / 16;
  extern __shared__ __align__(1024) uint8_t stages[];
  const int thread = static_cast<int>(threadIdx.x);
  const int row = thread / 16, column = thread % 16;
  const int stage_pages = kStageTokens >> cache.log2_page_tokens;
  const StageRange share = share_of_cta(cache, stage_pages);
  PageIds<kIdsRead> ids(cache, share.begin * stage_pages, share.end * stage_pages);
  const sm90::L2Policy policy = sm90::l2_evict_first();

  const auto copy = [&](int32_t i, int stage) {
    if (i < share.end) {
      const int32_t first = i * stage_pages;
      const uint8_t* head =
          cache.data + place_of(cache, first).head * cache.head_stride + column * 16;
      const uint32_t to = sm90::smem_address(stages + stage * kStageBytes) + column * 16;
#pragma unroll
      for (int r = row; r < kStageTokens; r += kRowsAtOnce) {
        const int32_t id = ids.get(first, r >> cache.log2_page_tokens);
        sm90::cp_async_16(
            to + r * kRowBytes,
            head + id * cache.page_stride + (r & (cache.page_tokens() - 1)) * cache.token_stride,
            policy);
      }
    }
    sm90::cp_async_commit();
  };
  for (int i = 0; i < kStages - 1; ++i) copy(share.begin + i, i);
  Checksum sum;
  int stage = 0;
  for (int32_t i = share.begin; i < share.end; ++i) {
    sm90::cp_async_wait<kStages - 2>();
    __syncthreads();  // all pieces of this stage are here, and nobody reads the one before
    copy(i + kStages - 1, stage == 0 ? kStages - 1 : stage - 1);
    const uint32_t from = sm90::smem_address(stages + stage * kStageBytes);
#pragma unroll 8
    for (int at = (kThreads - 1 - thread) * 16; at < kStageBytes; at += kThreads * 16) {
      sum.add(sm90::load_shared_16(from + at));
    }
    stage = stage == kStages - 1 ? 0 : stage + 1;
  }
  sum.add_to(checksum);
}

}  // namespace pagoda::micro

#endif  // PAGODA_BENCH_MICRO_PAGE_READ_KERNELS_CUH_
