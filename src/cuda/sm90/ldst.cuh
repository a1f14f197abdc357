// Loads, stores and copies between registers, shared and global memory.
#ifndef PAGODA_CUDA_SM90_LDST_CUH_
#define PAGODA_CUDA_SM90_LDST_CUH_

#include "cuda/sm90/device.cuh"
#include "cuda/sm90/l2_policy.cuh"

namespace pagoda::sm90 {

// ldmatrix.x4 (Warp-level Matrix Instructions: ldmatrix): four 8x8 matrices of 16-bit elements.
// Lane l gives the address of row l % 8 of matrix l / 8 (16 bytes, aligned); r[m] receives columns
// 2 * (lane % 4) + {0, 1} of row lane / 4 of matrix m.
PAGODA_DEVICE void ldmatrix_x4(uint32_t (&r)[4], uint32_t smem) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(smem)
               : "memory");
}

// ldmatrix.x2: lanes 0 ... 15 give the addresses.
PAGODA_DEVICE void ldmatrix_x2(uint32_t (&r)[2], uint32_t smem) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(smem)
               : "memory");
}

// ldmatrix.x4.trans: each matrix transposed on the way.
PAGODA_DEVICE void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t smem) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(smem)
               : "memory");
}

// ldmatrix.x2.trans
PAGODA_DEVICE void ldmatrix_x2_trans(uint32_t (&r)[2], uint32_t smem) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(smem)
               : "memory");
}

// stmatrix.x4 (Warp-level Matrix Instructions: stmatrix): the reverse of ldmatrix_x4.
PAGODA_DEVICE void stmatrix_x4(uint32_t smem, const uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(smem),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}

// stmatrix.x4.trans: each matrix transposed on the way.
PAGODA_DEVICE void stmatrix_x4_trans(uint32_t smem, const uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(smem),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}

// cp.async.cg (Data Movement: cp.async): 16 bytes past L1 into shared memory. Of the source only
// `source_bytes` (0 ... 16) are read; the rest of the 16 becomes zero.
PAGODA_DEVICE void cp_async_16(uint32_t smem, const void* global, uint32_t source_bytes = 16) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(smem), "l"(global),
               "r"(source_bytes)
               : "memory");
}

// cp.async.cg with an L2 cache policy
PAGODA_DEVICE void cp_async_16(uint32_t smem, const void* global, L2Policy policy) {
  asm volatile("cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0], [%1], 16, %2;" ::"r"(smem),
               "l"(global), "l"(policy.bits)
               : "memory");
}

// cp.async.cg with an L2 cache policy, of which only `source_bytes` (0 ... 16) are read
PAGODA_DEVICE void cp_async_16(uint32_t smem, const void* global, uint32_t source_bytes,
                               L2Policy policy) {
  asm volatile(
      "cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0], [%1], 16, %2, %3;" ::"r"(smem),
      "l"(global), "r"(source_bytes), "l"(policy.bits)
      : "memory");
}

// cp.async.ca: 4 bytes into shared memory.
PAGODA_DEVICE void cp_async_4(uint32_t smem, const void* global) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(smem), "l"(global) : "memory");
}

// cp.async.commit_group: closes this thread's current group.
PAGODA_DEVICE void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// cp.async.wait_group: until at most kPending of this thread's newest groups are under way.
template <int kPending>
PAGODA_DEVICE void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// ld.global.nc.v4 (Data Movement: ld): 16 bytes that nobody writes during the kernel, not kept in
// L1.
PAGODA_DEVICE uint4 load_global_16(const void* global) {
  uint4 x;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "l"(global));
  return x;
}

// ld.global.nc.v4 with an L2 cache policy
PAGODA_DEVICE uint4 load_global_16(const void* global, L2Policy policy) {
  uint4 x;
  asm volatile(
      "ld.global.nc.L1::no_allocate.L2::cache_hint.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4], %5;"
      : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
      : "l"(global), "l"(policy.bits));
  return x;
}

// ld.global.cg.v4 (Data Movement: ld, Cache Operators): 16 bytes from L2, where other SMs' writes
// are.
PAGODA_DEVICE float4 load_l2_16(const void* global) {
  float4 x;
  asm volatile("ld.global.cg.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
               : "l"(global)
               : "memory");
  return x;
}

// ld.global.cg.v4 with an L2 cache policy
PAGODA_DEVICE uint4 load_l2_16(const void* global, L2Policy policy) {
  uint4 x;
  asm volatile("ld.global.cg.L2::cache_hint.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4], %5;"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "l"(global), "l"(policy.bits)
               : "memory");
  return x;
}

// ld.global.cg.v2: 8 bytes from L2.
PAGODA_DEVICE float2 load_l2_8(const void* global) {
  float2 x;
  asm volatile("ld.global.cg.v2.f32 {%0, %1}, [%2];"
               : "=f"(x.x), "=f"(x.y)
               : "l"(global)
               : "memory");
  return x;
}

// st.global.v4 (Data Movement: st)
PAGODA_DEVICE void store_global_16(void* global, uint4 x) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(global), "r"(x.x), "r"(x.y),
               "r"(x.z), "r"(x.w)
               : "memory");
}

// st.global.v2
PAGODA_DEVICE void store_global_8(void* global, uint2 x) {
  asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(global), "r"(x.x), "r"(x.y) : "memory");
}

// ld.shared.v4 (Data Movement: ld)
PAGODA_DEVICE uint4 load_shared_16(uint32_t smem) {
  uint4 x;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "r"(smem)
               : "memory");
  return x;
}

// st.shared.v4 (Data Movement: st)
PAGODA_DEVICE void store_shared_16(uint32_t smem, uint4 x) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(smem), "r"(x.x), "r"(x.y), "r"(x.z),
               "r"(x.w)
               : "memory");
}

}  // namespace pagoda::sm90

#endif  // PAGODA_CUDA_SM90_LDST_CUH_
