// Barriers, fences, register reallocation and dependent launch.
#ifndef PAGODA_CUDA_SM90_SYNC_CUH_
#define PAGODA_CUDA_SM90_SYNC_CUH_

#include "cuda/sm90/device.cuh"

namespace pagoda::sm90 {

// barrier.sync (bar / barrier): waits until `num_threads` threads have reached barrier `id`, 0
// ... 15. Barrier 0 is __syncthreads().
PAGODA_DEVICE void named_barrier_sync(uint32_t id, uint32_t num_threads) {
  asm volatile("barrier.sync.aligned %0, %1;" ::"r"(id), "r"(num_threads) : "memory");
}

// barrier.arrive: counts towards `num_threads` without waiting.
PAGODA_DEVICE void named_barrier_arrive(uint32_t id, uint32_t num_threads) {
  asm volatile("barrier.arrive.aligned %0, %1;" ::"r"(id), "r"(num_threads) : "memory");
}

// barrier.red.and (bar / barrier): as named_barrier_sync; true if `x` is in all of the threads.
PAGODA_DEVICE bool named_barrier_all(uint32_t id, uint32_t num_threads, bool x) {
  int all;
  asm volatile(
      "{\n"
      ".reg .pred p, q;\n"
      "setp.ne.s32 p, %1, 0;\n"
      "barrier.red.and.pred q, %2, %3, p;\n"
      "selp.s32 %0, 1, 0, q;\n"
      "}\n"
      : "=r"(all)
      : "r"(static_cast<int>(x)), "r"(id), "r"(num_threads)
      : "memory");
  return all != 0;
}

// elect.sync: true in one lane of a fully active warp.
PAGODA_DEVICE bool elect_one() {
  uint32_t elected;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "elect.sync _|p, 0xffffffff;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}\n"
      : "=r"(elected));
  return elected != 0;
}

// setmaxnreg.inc: the warpgroup waits until it may own kRegs registers per thread (a multiple of
// 8).
template <int kRegs>
PAGODA_DEVICE void raise_registers() {
  static_assert(kRegs % 8 == 0 && kRegs >= 24 && kRegs <= 256);
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegs));
}

// setmaxnreg.dec: the warpgroup keeps kRegs registers per thread and releases the rest.
template <int kRegs>
PAGODA_DEVICE void lower_registers() {
  static_assert(kRegs % 8 == 0 && kRegs >= 24 && kRegs <= 256);
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegs));
}

// griddepcontrol.wait: blocks until the grids that this one depends on have finished and their
// writes are visible. Returns at once in a grid launched without programmatic dependence.
PAGODA_DEVICE void wait_for_previous_grids() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

// griddepcontrol.launch_dependents: once every CTA has said so or ended, dependent grids may start.
PAGODA_DEVICE void launch_dependent_grids() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// fence.proxy.async (membar / fence): this thread's ordinary writes to shared memory become visible
// to wgmma and the copy engine. Goes before the barrier that tells them.
PAGODA_DEVICE void fence_smem_for_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

}  // namespace pagoda::sm90

#endif  // PAGODA_CUDA_SM90_SYNC_CUH_
