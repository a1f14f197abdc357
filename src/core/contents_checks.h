// Checked mode, CPU: what lies in lengths and page tables, for attention and the KV-cache
// operations. A violation is named as (sequence, column, value).
#ifndef PAGODA_CORE_CONTENTS_CHECKS_H_
#define PAGODA_CORE_CONTENTS_CHECKS_H_

#include <cstdint>

#include "core/attention_params.h"
#include "pagoda/status.h"

namespace pagoda {

// [num_seqs + 1]: from 0 on, never falling, at most `limit`.
struct PrefixSums {
  const char* name;
  const int32_t* data;
  int32_t num_seqs;
  const char* limit_name;
  int64_t limit;
};
Status check_prefix_sums(const PrefixSums& sums);

// That every row of a CSR table lies within its entries.
Status check_table_rows(const BlockTableParams& table, int32_t num_seqs);

// Tokens [begin, end) of a sequence.
struct TokenRange {
  int32_t seq;
  int64_t begin;
  int64_t end;
};

// That the sequence has pages for its tokens, each of them one that exists. `length_name` is the
// argument that says how many tokens there are.
Status check_page_ids(const PagedKvParams& kv, const TokenRange& tokens, const char* length_name);

// Token scales of these tokens: neither negative, infinite nor NaN.
Status check_token_scales(const PagedKvParams& kv, int32_t num_kv_heads, const TokenRange& tokens);

}  // namespace pagoda

#endif  // PAGODA_CORE_CONTENTS_CHECKS_H_
