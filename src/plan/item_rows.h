// Which query token and head the rows of an item are, and where their data lies.
#ifndef PAGODA_PLAN_ITEM_ROWS_H_
#define PAGODA_PLAN_ITEM_ROWS_H_

#include "core/attention_params.h"
#include "plan/sequence_shape.h"
#include "plan/work_item.h"
#include "semantics/mask.h"

namespace pagoda {

struct ItemRows {
  MaskRule rule;
  int32_t seq;
  int32_t first_token;  // of the sequence, in q
  int32_t group;
  float inverse_group;
  int32_t first_q_idx;     // of row 0
  int32_t first_in_group;  // row 0 among its query token's rows
  int32_t num_rows;

  ItemRows() = default;

  PAGODA_HD ItemRows(const AttentionParams& params, const SequenceShape& shape, int32_t row_begin,
                     int32_t row_count)
      : rule(mask_rule(params.mask, shape.seq, shape.first_token, shape.q_len, shape.k_len)),
        seq(shape.seq),
        first_token(shape.first_token),
        group(params.group),
        inverse_group(1.0f / static_cast<float>(params.group)),
        first_q_idx(row_begin / params.group),
        first_in_group(row_begin - first_q_idx * params.group),
        num_rows(row_count) {}

  PAGODA_HD ItemRows(const AttentionParams& params, const WorkItem& item)
      : ItemRows(params, sequence_shape(params, item.seq), item.row_begin, item.num_rows) {}

  // Query token of a row, counted within the sequence.
  PAGODA_HD int32_t q_idx(int32_t row) const { return first_q_idx + tokens_after_first(row); }
  PAGODA_HD int32_t q_pos(int32_t row) const { return rule.context_len() + q_idx(row); }
  PAGODA_HD int32_t q_head(int32_t kv_head, int32_t row) const {
    return kv_head * group + first_in_group + row - tokens_after_first(row) * group;
  }

 private:
  // (first_in_group + row) / group, without a division: exact for dividends below 2^21.
  PAGODA_HD int32_t tokens_after_first(int32_t row) const {
    return static_cast<int32_t>((static_cast<float>(first_in_group + row) + 0.5f) * inverse_group);
  }
};

// Offset in elements of the row of a query token and head.
PAGODA_HD int64_t row_offset(const RowsParams& rows, int32_t token, int32_t head) {
  return token * rows.token_stride + head * rows.head_stride;
}

}  // namespace pagoda

#endif  // PAGODA_PLAN_ITEM_ROWS_H_
