// Attention cases: a case is a problem described in one line of text, so that any failure can be
// run again by `attention_test --case="..."` or `pagoda check --case "..."`.
#ifndef PAGODA_TESTS_CASES_H_
#define PAGODA_TESTS_CASES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pagoda/attention.h"

namespace pagoda::testing {

enum class KvLayout { kNhd, kHnd, kInterleaved /* K and V rows side by side */, kPadded };
enum class TableKind { kDense, kCsr };
enum class ScaleKind { kNone, kScalar, kPerHead, kPerSeqHead, kPerTokenHead };
// Scores are around 0, or extreme in one of two ways. One channel of q and K is large: scores
// around
// +-1.8e4 (by 8 / sqrt(head_dim)), both in each row, or all around -1.8e4, with many near ties.
// All channels are a hundred times larger: scores from -3e5 to 3e5, or all around -2.6e5, where a
// row's maximum mostly stands alone (K that saturates with its scale has exact ties instead).
enum class DataKind { kNormal, kLarge, kNegative, kLargeAll, kNegativeAll };
// Scales of 0 among those of q, K or V: the first, and about half of the others.
enum class ZeroScales { kNone, kQ, kK, kV, kAll };
// One visible element per sequence that is not finite; of int8, which has no such, its scale.
enum class NonFinite { kNone, kNanQ, kNanK, kNanV, kInfK, kInfV };

struct Case {
  std::vector<std::pair<int32_t, int32_t>> seqs;  // (q_len, k_len)
  int32_t num_q_heads = 4;
  int32_t num_kv_heads = 2;
  int32_t head_dim = 64;
  int32_t page_size = 16;
  DType q_dtype = DType::kBFloat16;
  DType kv_dtype = DType::kBFloat16;
  DType out_dtype = DType::kBFloat16;
  KvLayout layout = KvLayout::kNhd;
  TableKind table = TableKind::kDense;
  ScaleKind scales = ScaleKind::kNone;
  ZeroScales zero_scales = ZeroScales::kNone;
  DataKind data = DataKind::kNormal;
  NonFinite non_finite = NonFinite::kNone;
  bool causal = true;
  bool causal_per_seq = false;  // random flags
  int32_t window_left = -1;
  int32_t window_right = -1;
  int32_t chunk_size = 0;
  int32_t chunk_lookback = 0;
  int32_t prefix_window_left = -1;  // >= 0: random prefix lengths
  bool tree = false;                // random ancestor words
  int32_t num_ranges = 0;           // random bidirectional ranges per sequence
  bool clamp_ranges = false;
  float soft_cap = 0.0f;
  float softmax_scale = 0.0f;
  bool alibi = false;
  bool alibi_sqrt = false;
  bool sinks = false;
  int32_t bias = 0;  // 1 = one matrix, 2 = one per sequence; some elements are -inf
  bool lse = true;
  bool lse_tokens_heads = false;
  bool out_scale = false;
  int32_t padding_rows = 0;  // rows of q and out past cu_seqlens_q[num_seqs]
  SplitPolicy split_policy = SplitPolicy::kBalanced;
  int32_t fixed_split_keys = 0;
  uint32_t seed = 1;
};

// "seqs=5x18,1x1328 heads=8/2 d=128 page=16 ..." Sequences are q_len x k_len, "seqs=none" is an
// empty batch. Only what differs from the default is printed.
std::string to_line(const Case& c);
// Returns false and says why in `error` (key, got, wants) if `line` is no case.
bool parse_case(const std::string& line, Case* c, std::string* error);

// A case with its memory: random data from the seed, shuffled pages, unused pages, page tails and
// padding rows poisoned with NaN, guard bands around outputs.
class BuiltCase {
 public:
  explicit BuiltCase(const Case& c);
  ~BuiltCase();
  BuiltCase(BuiltCase&&) noexcept;

  const Case& spec() const;
  const AttentionProblem& problem() const;  // host memory
  // Refills out and lse with the poison pattern.
  void poison_outputs();
  // Empty, or where out or lse was written outside the rows that `written` [num_tokens] names:
  // padding rows, gaps between rows and guard bands must still hold the poison pattern.
  std::string stray_write(const std::vector<uint8_t>& written) const;

 private:
  struct Memory;
  std::unique_ptr<Memory> memory_;
};

// What the oracle says of a case's outputs, by the tolerances of the contract: max error <= 2 x
// the naive same-dtype formula's + 1e-5 of the scale, mean error <= 1.5 x likewise, each sequence
// by itself; exact zeros, -inf and NaN where the contract has them; padding rows and guard bands
// untouched. The errors are those of the sequence that came closest to its bounds.
struct Verdict {
  bool ok = false;
  double max_error = 0.0;
  double max_error_allowed = 0.0;
  double mean_error = 0.0;
  double mean_error_allowed = 0.0;
  std::string message;  // first failure, with its place; empty if ok
};
Verdict verify(const BuiltCase& built);

// Cases under a name, each small enough for the CPU.
struct Grid {
  std::string name;
  std::vector<Case> cases;
};

// edge: every row of section 4 of the contract; vllm, flash_attention: after those projects' tests;
// feature: every mask, score, layout, scale and dtype feature; once_wrong: lines that failed once;
// random: `num_random` cases, other ones for another seed.
std::vector<Grid> all_grids(int num_random, uint32_t seed);

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_CASES_H_
