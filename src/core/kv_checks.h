// Argument checks of what attention and the KV-cache operations share: pages, page tables, scales.
#ifndef PAGODA_CORE_KV_CHECKS_H_
#define PAGODA_CORE_KV_CHECKS_H_

#include "core/attention_params.h"
#include "core/checks.h"
#include "pagoda/attention.h"

namespace pagoda {

struct PagesRule {
  DTypeSet dtypes;
  int64_t num_kv_heads = Extent::kAny;
  int64_t head_dim = Extent::kAny;
  bool is_written = false;
  bool data_may_be_null = false;
};
Status check_pages(const TensorView& k_pages, const TensorView& v_pages, const PagesRule& rule,
                   const Place& place);

Status check_lse_layout(LseLayout layout);

struct LseRule {
  const char* name;
  LseLayout layout;
  int64_t num_tokens;
  int64_t num_q_heads;
  bool is_written = false;
};
Status check_lse(const TensorView& lse, const LseRule& rule, const Place& place);

enum class ScaleRange { kNotNegative, kPositive };

// A scale by KV head: float32, one element or [num_kv_heads], or [num_seqs, num_kv_heads] unless
// num_seqs is Extent::kAny. Absent is fine.
struct ScaleRule {
  const char* name;
  int64_t num_seqs = Extent::kAny;
  int64_t num_kv_heads = 1;
  ScaleRange range = ScaleRange::kNotNegative;
  bool read_values = false;  // where the host can
};
Status check_scale(const TensorView& scale, const ScaleRule& rule, const Place& place);
ScaleParams lay_out_scale(const TensorView& scale);

// The scales of quantised pages.
struct KvScales {
  const TensorView& k_scale;
  const TensorView& v_scale;
  const TensorView& k_token_scale;
  const TensorView& v_token_scale;
};
struct KvScalesRule {
  const TensorView& pages;  // whose dtype and shape they have to fit
  int64_t num_seqs = Extent::kAny;
  ScaleRange range = ScaleRange::kNotNegative;
  bool read_values = false;
  bool are_needed = true;    // int8 pages cannot do without
  bool are_written = false;  // scales by token, by the call itself
};
Status check_kv_scales(const KvScales& scales, const KvScalesRule& rule, const Place& place);

// Checks the page table of `num_seqs` sequences, dense or CSR, and lays it out.
Status lay_out_block_table(const PagedKvCache& kv, int64_t num_seqs, const Place& place,
                           BlockTableParams* params);

// Lays out pages, scales and table, already checked.
PagedKvParams lay_out_paged_kv(const PagedKvCache& kv, const BlockTableParams& block_table);

}  // namespace pagoda

#endif  // PAGODA_CORE_KV_CHECKS_H_
