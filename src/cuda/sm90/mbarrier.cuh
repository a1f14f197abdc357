// Barriers in shared memory that count arrivals and bytes. A barrier completes phases 0, 1, 2, ...;
// `parity` is the lowest bit of the phase that is waited for.
#ifndef PAGODA_CUDA_SM90_MBARRIER_CUH_
#define PAGODA_CUDA_SM90_MBARRIER_CUH_

#include "cuda/sm90/device.cuh"

namespace pagoda::sm90 {

struct alignas(8) Mbarrier {
  uint64_t opaque;
};

// mbarrier.init. Follow with fence_mbarrier_init() and a CTA barrier before anyone else uses it.
PAGODA_DEVICE void init(Mbarrier& bar, uint32_t num_arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(smem_address(&bar)),
               "r"(num_arrivals)
               : "memory");
}

// fence.mbarrier_init (membar / fence): initialised barriers become visible to the copy engine.
PAGODA_DEVICE void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// mbarrier.inval: the memory may be used for something else afterwards.
PAGODA_DEVICE void invalidate(Mbarrier& bar) {
  asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(smem_address(&bar)) : "memory");
}

// mbarrier.arrive, release semantics
PAGODA_DEVICE void arrive(Mbarrier& bar) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(smem_address(&bar)) : "memory");
}

// mbarrier.arrive with a count: as if so many threads arrived
PAGODA_DEVICE void arrive(Mbarrier& bar, uint32_t count) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0], %1;" ::"r"(smem_address(&bar)), "r"(count)
               : "memory");
}

// mbarrier.arrive.expect_tx: arrives, and the phase also waits for `bytes` from the copy engine.
PAGODA_DEVICE void arrive_expect_bytes(Mbarrier& bar, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(smem_address(&bar)),
               "r"(bytes)
               : "memory");
}

// mbarrier.expect_tx: raises the number of expected bytes without arriving.
PAGODA_DEVICE void expect_bytes(Mbarrier& bar, uint32_t bytes) {
  asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(smem_address(&bar)),
               "r"(bytes)
               : "memory");
}

// cp.async.mbarrier.arrive.noinc: arrives when this thread's cp.async so far have landed; the
// arrival counts among the barrier's own.
PAGODA_DEVICE void arrive_after_cp_async(Mbarrier& bar) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(smem_address(&bar))
               : "memory");
}

// mbarrier.test_wait: has the phase completed?
PAGODA_DEVICE bool test_wait(Mbarrier& bar, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}\n"
      : "=r"(done)
      : "r"(smem_address(&bar)), "r"(parity)
      : "memory");
  return done != 0;
}

// mbarrier.try_wait: the same, but the thread may sleep for a while first.
PAGODA_DEVICE bool try_wait(Mbarrier& bar, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}\n"
      : "=r"(done)
      : "r"(smem_address(&bar)), "r"(parity)
      : "memory");
  return done != 0;
}

// mbarrier.try_wait until the phase has completed; acquire semantics.
PAGODA_DEVICE void wait(Mbarrier& bar, uint32_t parity) {
  while (!try_wait(bar, parity)) {
  }
}

}  // namespace pagoda::sm90

#endif  // PAGODA_CUDA_SM90_MBARRIER_CUH_
