// What the CPU backend asks of an instruction set's kernels. A kernel sees one work item at a
// time; it knows neither threads nor splits.
#ifndef PAGODA_CPU_KERNELS_H_
#define PAGODA_CPU_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "core/attention_params.h"
#include "cpu/convert_run.h"
#include "plan/work_item.h"
#include "semantics/mask.h"
#include "semantics/softmax.h"

namespace pagoda::cpu {

// Rows of f32 outputs begin this many floats apart: whole vectors of every instruction set,
// of bf16 too.
constexpr int32_t kRowAlign = 32;

// Results of an item's rows over some keys, before normalisation: row h * num_rows + r is packed
// row r of the item's h-th KV head. `out` is relative to the row's maximum.
struct RowStates {
  float* out;           // [num_kv_heads * num_rows, out_stride]
  SoftmaxState* state;  // [num_kv_heads * num_rows]
  int32_t out_stride;   // head_dim rounded up to kRowAlign
};

// What a kernel needs besides the problem, per worker; sized by scratch_bytes().
struct Scratch {
  std::byte* data;
};

// Computes `item`'s rows over the keys `kv`, a part of the item's.
using AttendKernel = void (*)(const AttentionParams& params, const WorkItem& item, KvRange kv,
                              Scratch scratch, RowStates result);

// bf16 holds every value of the type exactly.
constexpr bool held_by_bf16(DType dtype) {
  return dtype != DType::kFloat32 && dtype != DType::kFloat16;
}

struct Kernels {
  const char* name;
  bool has_bf16_dot;       // multiplies pairs of bf16 where q, K and V are held_by_bf16()
  int32_t many_rows_tile;  // packed rows of a row tile of Route::kManyRows
  AttendKernel attend[kNumRoutes];
  size_t (*scratch_bytes)(int32_t head_dim, int32_t max_item_rows);
  // a <- join(a, b), row by row.
  void (*join_rows)(RowStates a, RowStates b, int32_t num_rows, int32_t head_dim);
  // Normalises rows and writes them, and their lse, to where the problem wants them.
  void (*finish_rows)(const AttentionParams& params, const WorkItem& item, RowStates rows);
  // As in convert_run.h.
  void (*widen)(Elements source, int32_t count, float* values);
  void (*narrow)(const float* values, int32_t count, Elements destination);
};

// Sequences of up to this many packed rows take Route::kFewRows.
constexpr int32_t kFewRowsMax = 15;

// Keys of one K/V strip of the many-rows kernel.
constexpr int32_t kStripKeys = kSplitAlignKeys;

}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_KERNELS_H_
