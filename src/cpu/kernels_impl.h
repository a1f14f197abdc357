// The kernels of one instruction set. Included by exactly one source file a set, which is compiled
// with the set's flags.
#ifndef PAGODA_CPU_KERNELS_IMPL_H_
#define PAGODA_CPU_KERNELS_IMPL_H_

#include "core/arith.h"
#include "cpu/attend_few_rows.h"
#include "cpu/attend_many_rows.h"
#include "cpu/bf16_pairs.h"
#include "cpu/convert_run_impl.h"
#include "cpu/finish_rows.h"
#include "cpu/kernels.h"

namespace pagoda::cpu {
namespace {

size_t scratch_bytes(int32_t head_dim, int32_t max_item_rows) {
  return max_of(few_rows_scratch_bytes(head_dim, max_item_rows), many_rows_scratch_bytes(head_dim));
}

constexpr Kernels make_kernels(const char* name) {
  return {.name = name,
          .has_bf16_dot = PAGODA_HAS_BF16_DOT != 0,
          .many_rows_tile = kManyRowsTile,
          .attend = {attend_few_rows, attend_many_rows},
          .scratch_bytes = scratch_bytes,
          .join_rows = join_rows,
          .finish_rows = finish_rows,
          .widen = widen_run,
          .narrow = narrow_run};
}

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_KERNELS_IMPL_H_
