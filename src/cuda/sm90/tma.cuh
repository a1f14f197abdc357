// Tile copies by the copy engine (TMA). A tensor map (cuda/tensor_map.h) describes the tensor in
// global memory and the box that one instruction moves; `tensor_map` points to its 128 bytes in
// kernel parameters (__grid_constant__), constant or global memory. One thread issues a copy.
#ifndef PAGODA_CUDA_SM90_TMA_CUH_
#define PAGODA_CUDA_SM90_TMA_CUH_

#include "cuda/sm90/device.cuh"
#include "cuda/sm90/l2_policy.cuh"
#include "cuda/sm90/mbarrier.cuh"

namespace pagoda::sm90 {

// Where a box starts: element coordinates, the innermost dimension first. Elements of the box
// outside the tensor arrive as zeros, and count among the bytes all the same.
template <int kRank>
struct BoxStart {
  int32_t at[kRank];
};

template <class... Coordinates>
BoxStart(Coordinates...) -> BoxStart<sizeof...(Coordinates)>;

// prefetch.tensormap (Data Movement: prefetch): saves the first copy the fetch of its map.
PAGODA_DEVICE void prefetch_tensor_map(const void* tensor_map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(tensor_map) : "memory");
}

// cp.async.bulk.tensor.2d: global to shared memory; `full` receives the box's bytes.
PAGODA_DEVICE void load_box(void* smem, const void* tensor_map, Mbarrier& full, BoxStart<2> box,
                            L2Policy policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(smem_address(smem)),
      "l"(tensor_map), "r"(smem_address(&full)), "r"(box.at[0]), "r"(box.at[1]), "l"(policy.bits)
      : "memory");
}

// cp.async.bulk.tensor.3d: global to shared memory; `full` receives the box's bytes.
PAGODA_DEVICE void load_box(void* smem, const void* tensor_map, Mbarrier& full, BoxStart<3> box,
                            L2Policy policy) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(smem_address(smem)),
      "l"(tensor_map), "r"(smem_address(&full)), "r"(box.at[0]), "r"(box.at[1]), "r"(box.at[2]),
      "l"(policy.bits)
      : "memory");
}

// cp.async.bulk.tensor.4d: global to shared memory; `full` receives the box's bytes.
PAGODA_DEVICE void load_box(void* smem, const void* tensor_map, Mbarrier& full, BoxStart<4> box,
                            L2Policy policy) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%3, %4, %5, %6}], [%2], %7;" ::"r"(smem_address(smem)),
      "l"(tensor_map), "r"(smem_address(&full)), "r"(box.at[0]), "r"(box.at[1]), "r"(box.at[2]),
      "r"(box.at[3]), "l"(policy.bits)
      : "memory");
}

// cp.async.bulk.tensor.5d: global to shared memory; `full` receives the box's bytes.
PAGODA_DEVICE void load_box(void* smem, const void* tensor_map, Mbarrier& full, BoxStart<5> box,
                            L2Policy policy) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%3, %4, %5, %6, %7}], [%2], %8;" ::"r"(smem_address(smem)),
      "l"(tensor_map), "r"(smem_address(&full)), "r"(box.at[0]), "r"(box.at[1]), "r"(box.at[2]),
      "r"(box.at[3]), "r"(box.at[4]), "l"(policy.bits)
      : "memory");
}

// cp.async.bulk.prefetch.tensor.2d: global memory to L2.
PAGODA_DEVICE void prefetch_box(const void* tensor_map, BoxStart<2> box) {
  asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global.tile [%0, {%1, %2}];" ::"l"(tensor_map),
               "r"(box.at[0]), "r"(box.at[1])
               : "memory");
}

// cp.async.bulk.prefetch.tensor.3d: global memory to L2.
PAGODA_DEVICE void prefetch_box(const void* tensor_map, BoxStart<3> box) {
  asm volatile(
      "cp.async.bulk.prefetch.tensor.3d.L2.global.tile [%0, {%1, %2, %3}];" ::"l"(tensor_map),
      "r"(box.at[0]), "r"(box.at[1]), "r"(box.at[2])
      : "memory");
}

// cp.async.bulk.prefetch.tensor.4d: global memory to L2.
PAGODA_DEVICE void prefetch_box(const void* tensor_map, BoxStart<4> box) {
  asm volatile(
      "cp.async.bulk.prefetch.tensor.4d.L2.global.tile [%0, {%1, %2, %3, %4}];" ::"l"(tensor_map),
      "r"(box.at[0]), "r"(box.at[1]), "r"(box.at[2]), "r"(box.at[3])
      : "memory");
}

// cp.async.bulk.prefetch.tensor.5d: global memory to L2.
PAGODA_DEVICE void prefetch_box(const void* tensor_map, BoxStart<5> box) {
  asm volatile("cp.async.bulk.prefetch.tensor.5d.L2.global.tile [%0, {%1, %2, %3, %4, %5}];" ::"l"(
                   tensor_map),
               "r"(box.at[0]), "r"(box.at[1]), "r"(box.at[2]), "r"(box.at[3]), "r"(box.at[4])
               : "memory");
}

// cp.async.bulk: `bytes` contiguous bytes, global to shared memory; both ends and the size are
// multiples of 16.
PAGODA_DEVICE void load_bytes(void* smem, const void* global, uint32_t bytes, Mbarrier& full,
                              L2Policy policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1], %2, [%3], %4;" ::"r"(smem_address(smem)),
      "l"(global), "r"(bytes), "r"(smem_address(&full)), "l"(policy.bits)
      : "memory");
}

}  // namespace pagoda::sm90

#endif  // PAGODA_CUDA_SM90_TMA_CUH_
