// A computed problem against the double-precision oracle.
#ifndef PAGODA_TOOLS_PAGODA_COMPARE_H_
#define PAGODA_TOOLS_PAGODA_COMPARE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "pagoda/attention.h"

namespace pagoda::tools {

struct Comparison {
  bool ok = true;
  int64_t num_tokens = 0;  // compared
  double max_error = 0.0;  // of out
  double max_error_allowed = 0.0;
  std::string message;  // first failure, with its place; empty if ok
};

// Compares out and, if present, lse of `problem`, which attention() has computed, for the given
// tokens. Allowed are twice the largest and 1.5 times the mean error of the naive evaluation in
// the tensors' own types, each plus 1e-5 of the largest value.
Comparison compare_with_oracle(const AttentionProblem& problem, const std::vector<int32_t>& tokens);

// Up to `count` tokens of `num_tokens`, evenly spread, the last one among them.
std::vector<int32_t> spread_tokens(int64_t num_tokens, int64_t count);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_COMPARE_H_
