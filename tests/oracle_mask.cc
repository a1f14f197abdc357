#include "oracle_mask.h"

#include <cmath>

namespace pagoda::testing {
namespace {

int64_t floor_of_quotient(int64_t x, int64_t y) {
  return (x - ((x % y) + y) % y) / y;
}

bool base_rule(const AttentionProblem& problem, const OracleSequence& s, int64_t p, int64_t t) {
  const AttentionMask& mask = problem.mask;
  const bool causal =
      mask.causal_per_seq.present() ? at<uint8_t>(mask.causal_per_seq, s.index) != 0 : mask.causal;
  if (causal && t > p) return false;
  if (mask.window_left >= 0 && p - t > mask.window_left) return false;
  if (mask.window_right >= 0 && t - p > mask.window_right) return false;
  if (mask.chunk_size > 0) {
    const int64_t chunks_back =
        floor_of_quotient(p, mask.chunk_size) - floor_of_quotient(t, mask.chunk_size);
    if (chunks_back > mask.chunk_lookback) return false;
  }
  if (mask.prefix_lens.present()) {
    const bool in_prefix = t < at<int32_t>(mask.prefix_lens, s.index);
    if (!in_prefix && p - t > mask.prefix_window_left) return false;
  }
  return true;
}

// Of the first 64 tokens of its step, a token sees itself and its ancestors.
bool tree_rule(const AttentionProblem& problem, const OracleSequence& s, int64_t i, int64_t t) {
  if (!problem.mask.tree_words.present()) return true;
  const int64_t draft = t - s.context_len();
  if (draft < 0 || draft >= 64 || draft == i) return true;
  const auto word = static_cast<uint64_t>(at<int64_t>(problem.mask.tree_words, s.first_token + i));
  return (word >> draft & 1) != 0;
}

bool in_common_range(const AttentionProblem& problem, const OracleSequence& s, int64_t p,
                     int64_t t) {
  const AttentionMask& mask = problem.mask;
  if (!mask.bidirectional_ranges.present()) return false;
  if (mask.clamp_ranges_to_window_left && mask.window_left >= 0 && p - t > mask.window_left) {
    return false;
  }
  for (int64_t r = 0; r < mask.bidirectional_ranges.shape[1]; ++r) {
    const int64_t first = at<int32_t>(mask.bidirectional_ranges, s.index, r, 0);
    const int64_t last = at<int32_t>(mask.bidirectional_ranges, s.index, r, 1);
    if (first <= p && p <= last && first <= t && t <= last) return true;
  }
  return false;
}

}  // namespace

double bias_of(const AttentionProblem& problem, const OracleSequence& s, int64_t i, int64_t t) {
  const TensorView& bias = problem.bias;
  const int64_t column = t - s.context_len();
  if (!bias.present() || column < 0) return 0.0;
  const int row_axis = bias.rank - 2;
  if (i >= bias.shape[row_axis] || column >= bias.shape[row_axis + 1]) return 0.0;
  return bias.rank == 3 ? at<float>(bias, s.index, i, column) : at<float>(bias, i, column);
}

std::vector<uint8_t> visible_keys(const AttentionProblem& problem, const OracleSequence& s,
                                  int64_t i) {
  const int64_t p = s.context_len() + i;
  std::vector<uint8_t> visible(s.k_len);
  for (int64_t t = 0; t < s.k_len; ++t) {
    const bool base = base_rule(problem, s, p, t) && tree_rule(problem, s, i, t);
    const bool seen = base || in_common_range(problem, s, p, t);
    visible[t] = seen && bias_of(problem, s, i, t) != -INFINITY;
  }
  return visible;
}

}  // namespace pagoda::testing
