// A matrix in shared memory, in the one layout that the copy engine writes and wgmma and ldmatrix
// read.
#ifndef PAGODA_CUDA_TILE_SMEM_TILE_CUH_
#define PAGODA_CUDA_TILE_SMEM_TILE_CUH_

#include "cuda/sm90/device.cuh"
#include "cuda/sm90/swizzle.h"
#include "cuda/sm90/wgmma_desc.cuh"

namespace pagoda::tile {

// kRows x kCols elements of T, stored as panels side by side: a panel is kRows rows of
// swizzle_bytes(kSwizzle) each (16 where nothing is swizzled). A box of kPanelCols columns and any
// multiple of 8 rows, copied to panel(p) + row * kPanelBytes with the same swizzle, lands in place.
template <class T, int kRows, int kCols, sm90::Swizzle kSwizzle>
struct alignas(1024) SmemTile {
  static constexpr int kPanelBytes = sm90::swizzle_bytes(kSwizzle);  // of one row
  static constexpr int kPanelCols = kPanelBytes / static_cast<int>(sizeof(T));
  static constexpr int kPanelStride = kRows * kPanelBytes;  // bytes from panel to panel
  static constexpr int kNumPanels = kCols / kPanelCols;
  static constexpr int kBytes = kNumPanels * kPanelStride;
  static_assert(kCols % kPanelCols == 0, "columns come in whole panels");
  static_assert(kRows % 8 == 0, "the swizzle repeats every 8 rows");

  uint8_t bytes[kBytes];

  // Where element (row, col) lies, in bytes from the tile's start.
  PAGODA_HD static constexpr uint32_t offset(int row, int col) {
    const uint32_t byte = static_cast<uint32_t>(col % kPanelCols) * sizeof(T);
    return (col / kPanelCols) * kPanelStride +
           sm90::swizzled(kSwizzle, static_cast<uint32_t>(row) * kPanelBytes + byte);
  }

  PAGODA_DEVICE T& at(int row, int col) { return *reinterpret_cast<T*>(bytes + offset(row, col)); }

  // For ldmatrix and 16-byte accesses: `col` is a multiple of 16 bytes' worth of elements.
  PAGODA_DEVICE uint32_t address(int row, int col) const {
    return sm90::smem_address(bytes) + offset(row, col);
  }

  // Where a box that starts at row `row`, a multiple of 8, of panel `panel` is copied to.
  PAGODA_DEVICE uint8_t* box_destination(int row, int panel) {
    return bytes + panel * kPanelStride + row * kPanelBytes;
  }

  // The tile as a wgmma operand whose k runs along the columns (A[m][k], B[n][k]), starting at row
  // `row` (a multiple of 8) and column `k` (a multiple of the instruction's K).
  PAGODA_DEVICE sm90::WgmmaDesc k_major(int row, int k) const {
    return sm90::make_wgmma_desc(
        sm90::smem_address(bytes) + row * kPanelBytes + along_row(k),
        {.swizzle = kSwizzle, .leading_stride = kPanelStride, .stride = 8 * kPanelBytes});
  }

  // How far such an operand moves from column 0 to column `k`.
  PAGODA_HD static constexpr uint32_t k_major_offset(int k) { return along_row(k); }

  // The tile as a wgmma operand whose k runs along the rows (A[k][m], B[k][n]), starting at row `k`
  // (a multiple of 16) and column `col` (a multiple of kPanelCols).
  PAGODA_DEVICE sm90::WgmmaDesc mn_major(int k, int col) const {
    constexpr bool kSwapped = kSwizzle == sm90::Swizzle::kNone;
    return sm90::make_wgmma_desc(
        sm90::smem_address(bytes) + k * kPanelBytes + col / kPanelCols * kPanelStride,
        {.swizzle = kSwizzle,
         .leading_stride = kSwapped ? 8 * kPanelBytes : kPanelStride,
         .stride = kSwapped ? kPanelStride : 8 * kPanelBytes});
  }

  // How far such an operand moves from row 0 to row `k`.
  PAGODA_HD static constexpr uint32_t mn_major_offset(int k) { return k * kPanelBytes; }

 private:
  // Bytes from column 0 to column `col`, before the swizzle, which the hardware applies to
  // addresses.
  PAGODA_HD static constexpr uint32_t along_row(int col) {
    return (col / kPanelCols) * kPanelStride + (col % kPanelCols) * sizeof(T);
  }
};

}  // namespace pagoda::tile

#endif  // PAGODA_CUDA_TILE_SMEM_TILE_CUH_
