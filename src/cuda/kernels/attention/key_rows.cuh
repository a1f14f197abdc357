// Where the rows of a K or V tile lie in shared memory: box after box, in a box panel after panel,
// in a panel key after key, 128 bytes each, their 16-byte chunks permuted by the line's number.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_KEY_ROWS_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_KEY_ROWS_CUH_

#include "cuda/kernels/attention/config.h"
#include "cuda/sm90/device.cuh"
#include "cuda/sm90/swizzle.h"

namespace pagoda::cuda {

template <class Config>
struct KeyRow {
  uint32_t line;  // of its first panel
  int32_t log2_box_keys;

  PAGODA_DEVICE KeyRow(int row, int32_t log2_keys)
      : line((static_cast<uint32_t>(row) >> log2_keys) * (Config::kPanels << log2_keys) +
             (static_cast<uint32_t>(row) & ((1u << log2_keys) - 1))),
        log2_box_keys(log2_keys) {}

  // Of 16-byte chunk `chunk`, counted from the tile's start.
  PAGODA_DEVICE uint32_t offset(int chunk) const {
    constexpr int kPanelChunks = Config::kPanelBytes / 16;
    const uint32_t panel_line =
        line + (static_cast<uint32_t>(chunk / kPanelChunks) << log2_box_keys);
    return sm90::swizzled(
        sm90::Swizzle::k128B,
        panel_line * Config::kPanelBytes + static_cast<uint32_t>(chunk % kPanelChunks) * 16);
  }
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_KEY_ROWS_CUH_
