// A ring of shared-memory stages between one side that fills them and one that uses them.
#ifndef PAGODA_CUDA_TILE_PIPELINE_CUH_
#define PAGODA_CUDA_TILE_PIPELINE_CUH_

#include "cuda/sm90/mbarrier.cuh"

namespace pagoda::tile {

// Each side walks the ring with a cursor of its own.
template <int kStages>
struct PipelineCursor {
  int stage = 0;
  uint32_t parity = 0;  // of the current round through the ring

  PAGODA_DEVICE void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }

  PAGODA_DEVICE void advance(int32_t by) {
    const int32_t passed = stage + by;
    parity ^= static_cast<uint32_t>(passed / kStages) & 1;
    stage = passed % kStages;
  }
};

// Lives in shared memory.
//   producer: acquire(cursor); arrive_expect_bytes(full(cursor), n); copies...; cursor.advance();
//   consumer: wait(cursor); use the stage; release(cursor); cursor.advance();
template <int kStages>
struct Pipeline {
  using Cursor = PipelineCursor<kStages>;

  sm90::Mbarrier full_[kStages];
  sm90::Mbarrier empty_[kStages];

  // By one thread; then a CTA barrier. The counts are arrivals per stage: on full() besides the
  // copies' bytes, and calls of release().
  PAGODA_DEVICE void init(uint32_t producer_arrivals, uint32_t consumer_arrivals) {
    for (int i = 0; i < kStages; ++i) {
      sm90::init(full_[i], producer_arrivals);
      sm90::init(empty_[i], consumer_arrivals);
    }
    sm90::fence_mbarrier_init();
  }

  // Producer: until the stage's former contents have been released. The first round is free: a wait
  // for the phase before the barrier's first returns at once.
  PAGODA_DEVICE void acquire(Cursor cursor) { sm90::wait(empty_[cursor.stage], cursor.parity ^ 1); }

  PAGODA_DEVICE sm90::Mbarrier& full(Cursor cursor) { return full_[cursor.stage]; }

  // Consumer: until the stage is full.
  PAGODA_DEVICE void wait(Cursor cursor) { sm90::wait(full_[cursor.stage], cursor.parity); }

  // Is it full already? For a look ahead, whose answer wait_unless() takes.
  PAGODA_DEVICE bool is_full(Cursor cursor) {
    return sm90::test_wait(full_[cursor.stage], cursor.parity);
  }
  PAGODA_DEVICE void wait_unless(bool was_full, Cursor cursor) {
    if (!was_full) wait(cursor);
  }

  PAGODA_DEVICE void release(Cursor cursor) { sm90::arrive(empty_[cursor.stage]); }
};

}  // namespace pagoda::tile

#endif  // PAGODA_CUDA_TILE_PIPELINE_CUH_
