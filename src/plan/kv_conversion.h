// Which 8-bit keys and values are made 16-bit ones, in the workspace, before rows are computed from
// them. Converting takes a sequence's K and V once through memory; otherwise every row tile
// converts them again.
#ifndef PAGODA_PLAN_KV_CONVERSION_H_
#define PAGODA_PLAN_KV_CONVERSION_H_

#include "plan/planner.h"

namespace pagoda {

// Keys come in tiles of so many.
constexpr int32_t kConvertedTile = 128;
// Sequences of fewer packed rows read K and V too seldom.
constexpr int32_t kMinConvertedRows = 1024;
// Nor does a kernel of its own pay in steps of fewer.
constexpr int32_t kMinConvertedStepRows = 2048;
// No more memory is asked for than this, in bytes.
constexpr int64_t kMaxConvertedBytes = int64_t{512} << 20;

// The keys of one sequence: tiles from `first` on.
struct ConvertedKeys {
  int32_t first;
  int32_t num_tiles;  // 0: none are converted
};

// If there is room.
PAGODA_HD ConvertedKeys converted_keys(const AttentionParams& params, const SequenceShape& shape) {
  const int32_t packed_rows = shape.q_len * params.group;
  if (packed_rows < kMinConvertedRows) return {};
  const KvRange visible = rows_visible(params, shape, 0, packed_rows - 1);
  if (visible.empty()) return {};
  const int32_t first = visible.begin / kConvertedTile * kConvertedTile;
  return {first, ceil_div(visible.end - first, kConvertedTile)};
}

// Bytes of one tile of all KV heads: K and V of 16 bits, and f32 scales of K, which tokens may
// have.
PAGODA_HD int64_t converted_tile_bytes(int32_t num_kv_heads, int32_t head_dim) {
  return int64_t{kConvertedTile} * num_kv_heads * (2 * 2 * head_dim + 4);
}

// Tiles that steps within these limits are given room for: the longest context once, and as many
// keys as the step has tokens.
PAGODA_HD int64_t wanted_converted_tiles(int64_t max_num_tokens, int64_t max_num_seqs,
                                         int64_t max_seqlen_k, int32_t group) {
  if (max_num_tokens * group < kMinConvertedStepRows) return 0;
  const int64_t num_seqs = min_of(max_num_seqs, max_num_tokens * group / kMinConvertedRows);
  const int64_t longest = ceil_div(max_seqlen_k, int64_t{kConvertedTile}) + 1;
  const int64_t new_ones = ceil_div(max_num_tokens, int64_t{kConvertedTile}) + num_seqs;
  return min_of(num_seqs * longest, longest + new_ones);
}

}  // namespace pagoda

#endif  // PAGODA_PLAN_KV_CONVERSION_H_
