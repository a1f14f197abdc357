// Which keys a query sees: the only place that knows. A mask is first an interval of keys per
// query, non-decreasing in the query's position; from it come loop bounds, the tiles that need no
// masking and the planner's cost. Rules that are no interval add a predicate, asked for single
// keys in tiles that are neither wholly visible nor wholly hidden.
#ifndef PAGODA_SEMANTICS_MASK_H_
#define PAGODA_SEMANTICS_MASK_H_

#include "core/arith.h"
#include "core/attention_params.h"
#include "core/portability.h"

namespace pagoda {

// Keys [begin, end).
struct KvRange {
  int32_t begin;
  int32_t end;

  PAGODA_HD bool empty() const { return begin >= end; }
  PAGODA_HD int32_t size() const { return empty() ? 0 : end - begin; }
  PAGODA_HD bool contains(KvRange other) const {
    return other.empty() || (begin <= other.begin && other.end <= end);
  }
};

// The mask of one sequence. Query i of the sequence is at position k_len - q_len + i.
struct MaskRule {
  int32_t q_len;
  int32_t k_len;
  bool causal;
  bool clamp_ranges_to_window_left;
  int32_t window_left;   // -1 = unlimited
  int32_t window_right;  // -1 = unlimited
  int32_t chunk_size;    // 0 = off
  int32_t chunk_lookback;
  int32_t prefix_len;
  int32_t prefix_window_left;  // -1 = off
  const int64_t* tree_words;   // of the sequence's first token, or null
  int64_t tree_words_stride;
  const int32_t* ranges;  // [num_ranges, 2] inclusive, or null
  int32_t num_ranges;

  PAGODA_HD int32_t context_len() const { return k_len - q_len; }
};

PAGODA_HD MaskRule mask_rule(const MaskParams& mask, int32_t seq, int32_t first_token,
                             int32_t q_len, int32_t k_len) {
  MaskRule rule{};
  rule.q_len = q_len;
  rule.k_len = k_len;
  rule.causal = mask.causal_per_seq != nullptr
                    ? mask.causal_per_seq[seq * mask.causal_per_seq_stride] != 0
                    : mask.causal;
  rule.clamp_ranges_to_window_left = mask.clamp_ranges_to_window_left;
  rule.window_left = mask.window_left;
  rule.window_right = mask.window_right;
  rule.chunk_size = mask.chunk_size;
  rule.chunk_lookback = mask.chunk_lookback;
  rule.prefix_window_left = -1;
  if (mask.prefix_lens != nullptr) {
    rule.prefix_len = mask.prefix_lens[seq * mask.prefix_lens_stride];
    rule.prefix_window_left = mask.prefix_window_left;
  }
  if (mask.tree_words != nullptr) {
    rule.tree_words = mask.tree_words + first_token * mask.tree_words_stride;
    rule.tree_words_stride = mask.tree_words_stride;
  }
  if (mask.bidirectional_ranges != nullptr) {
    rule.num_ranges = mask.max_ranges;
    rule.ranges = mask.bidirectional_ranges + int64_t{2} * seq * mask.max_ranges;
  }
  return rule;
}

// First key with p - t <= window, for p >= 0 or not; -1 = unlimited.
PAGODA_HD int32_t window_begin(int32_t q_pos, int32_t window) {
  return window < 0 || window >= q_pos ? 0 : q_pos - window;
}

// Keys that causality, windows and chunks leave; both ends are non-decreasing in q_pos.
PAGODA_HD KvRange interval_kv(const MaskRule& rule, int32_t q_pos) {
  KvRange kv{window_begin(q_pos, rule.window_left), rule.k_len};
  if (rule.causal) kv.end = min_of(kv.end, q_pos + 1);
  if (rule.window_right >= 0 && rule.window_right < rule.k_len - q_pos) {
    kv.end = min_of(kv.end, q_pos + rule.window_right + 1);
  }
  if (rule.chunk_size > 0) {
    const int32_t chunk = floor_div(q_pos, rule.chunk_size);
    if (chunk > rule.chunk_lookback) {
      kv.begin = max_of(kv.begin, (chunk - rule.chunk_lookback) * rule.chunk_size);
    }
  }
  return kv;
}

// The prefix-window rule as an interval where it is one: no prefix is left of the window.
PAGODA_HD int32_t prefix_window_begin(const MaskRule& rule, int32_t q_pos) {
  return rule.prefix_window_left < 0 ? 0 : window_begin(q_pos, rule.prefix_window_left);
}

// Smallest interval that holds every key that some query in [q_first, q_last] sees.
PAGODA_HD KvRange any_visible(const MaskRule& rule, int32_t q_first, int32_t q_last) {
  KvRange kv{interval_kv(rule, q_first).begin, interval_kv(rule, q_last).end};
  if (rule.prefix_len <= kv.begin) kv.begin = max_of(kv.begin, prefix_window_begin(rule, q_first));
  if (kv.empty()) kv = {0, 0};
  for (int32_t i = 0; i < rule.num_ranges; ++i) {
    const int32_t first = rule.ranges[2 * i];
    const int32_t last = rule.ranges[2 * i + 1];
    KvRange seen{max_of(first, 0), min_of(last, rule.k_len - 1) + 1};
    if (seen.empty() || last < q_first || first > q_last) continue;
    if (rule.clamp_ranges_to_window_left) {
      const int32_t lowest_query = max_of(first, q_first);
      seen.begin = max_of(seen.begin, window_begin(lowest_query, rule.window_left));
    }
    kv = kv.empty() ? seen : KvRange{min_of(kv.begin, seen.begin), max_of(kv.end, seen.end)};
  }
  return kv;
}

// Keys inside any_visible() that none of the queries from q_first on sees: what lies between the
// prefix and the first one's window. Tiles inside are skipped.
PAGODA_HD KvRange hidden_gap(const MaskRule& rule, int32_t q_first) {
  if (rule.prefix_window_left < 0 || rule.num_ranges > 0) return {0, 0};
  return {rule.prefix_len, prefix_window_begin(rule, q_first)};
}

// `key`, or past the tiles of `gap` if it is there.
PAGODA_HD int32_t past_gap(KvRange gap, int32_t key, int32_t tile_keys) {
  if (key < gap.begin || key >= gap.end) return key;
  return max_of(key, round_down(gap.end, tile_keys));
}

// Keys that every query in [q_first, q_last] sees, so that tiles inside need no masking. One
// interval of them, not always all.
PAGODA_HD KvRange all_visible(const MaskRule& rule, int32_t q_first, int32_t q_last) {
  KvRange kv{interval_kv(rule, q_last).begin, interval_kv(rule, q_first).end};
  kv.begin = max_of(kv.begin, prefix_window_begin(rule, q_last));
  if (rule.tree_words != nullptr) kv.end = min_of(kv.end, max_of(rule.context_len(), 0));
  if (kv.empty()) kv = {0, 0};
  return kv;
}

// True if no sequence of the batch needs more than intervals.
PAGODA_HD bool is_interval(const MaskParams& mask) {
  return mask.bidirectional_ranges == nullptr && mask.tree_words == nullptr &&
         mask.prefix_window_left < 0;
}

// True where interval_kv alone decides; otherwise single keys ask is_visible().
PAGODA_HD bool is_interval(const MaskRule& rule) {
  return rule.num_ranges == 0 && rule.tree_words == nullptr && rule.prefix_window_left < 0;
}

// A draft token sees, among the first 64 tokens of its step, itself and its ancestors.
PAGODA_HD bool tree_allows(const MaskRule& rule, int32_t q_pos, int32_t kv_pos) {
  const int32_t q_idx = q_pos - rule.context_len();
  const int32_t kv_idx = kv_pos - rule.context_len();
  if (kv_idx < 0 || kv_idx >= 64 || kv_idx == q_idx) return true;
  return (rule.tree_words[q_idx * rule.tree_words_stride] >> kv_idx) & 1;
}

PAGODA_HD bool in_common_range(const MaskRule& rule, int32_t q_pos, int32_t kv_pos) {
  if (rule.clamp_ranges_to_window_left && kv_pos < window_begin(q_pos, rule.window_left)) {
    return false;
  }
  for (int32_t i = 0; i < rule.num_ranges; ++i) {
    const int32_t first = rule.ranges[2 * i];
    const int32_t last = rule.ranges[2 * i + 1];
    if (first <= q_pos && q_pos <= last && first <= kv_pos && kv_pos <= last) return true;
  }
  return false;
}

// Does the query at q_pos see the key at kv_pos, 0 <= kv_pos < k_len?
PAGODA_HD bool is_visible(const MaskRule& rule, int32_t q_pos, int32_t kv_pos) {
  const KvRange kv = interval_kv(rule, q_pos);
  bool base = kv_pos >= kv.begin && kv_pos < kv.end;
  if (rule.prefix_window_left >= 0) {
    base = base && (kv_pos < rule.prefix_len || kv_pos >= prefix_window_begin(rule, q_pos));
  }
  if (rule.tree_words != nullptr) base = base && tree_allows(rule, q_pos, kv_pos);
  return base || in_common_range(rule, q_pos, kv_pos);
}

}  // namespace pagoda

#endif  // PAGODA_SEMANTICS_MASK_H_
