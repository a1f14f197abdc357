// Which query token and head the rows of an item are, and where their data lies.
#ifndef PAGODA_PLAN_ITEM_ROWS_H_
#define PAGODA_PLAN_ITEM_ROWS_H_

#include "core/attention_params.h"
#include "plan/work_item.h"
#include "semantics/mask.h"

namespace pagoda {

struct ItemRows {
  MaskRule rule;
  int32_t seq;
  int32_t first_token;  // of the sequence, in q
  int32_t group;
  int32_t row_begin;
  int32_t num_rows;

  PAGODA_HD ItemRows(const AttentionParams& params, const WorkItem& item)
      : seq(item.seq),
        first_token(params.cu_seqlens_q[item.seq]),
        group(params.group),
        row_begin(item.row_begin),
        num_rows(item.num_rows) {
    const int32_t q_len = params.cu_seqlens_q[seq + 1] - first_token;
    rule = mask_rule(params.mask, seq, first_token, q_len, params.seqused_k[seq]);
  }

  // Query token of a row, counted within the sequence.
  PAGODA_HD int32_t q_idx(int32_t row) const { return (row_begin + row) / group; }
  PAGODA_HD int32_t q_pos(int32_t row) const { return rule.context_len() + q_idx(row); }
  PAGODA_HD int32_t q_head(int32_t kv_head, int32_t row) const {
    return kv_head * group + (row_begin + row) % group;
  }
};

// Offset in elements of the row of a query token and head.
PAGODA_HD int64_t row_offset(const RowsParams& rows, int32_t token, int32_t head) {
  return token * rows.token_stride + head * rows.head_stride;
}

}  // namespace pagoda

#endif  // PAGODA_PLAN_ITEM_ROWS_H_
