// Naive attention in double precision, written from docs/semantics.md alone. Shares no code with
// src/: it is the second opinion that makes sharing inside src/ safe.
#ifndef PAGODA_TESTS_ORACLE_H_
#define PAGODA_TESTS_ORACLE_H_

#include <cstdint>
#include <vector>

#include "pagoda/attention.h"

namespace pagoda::testing {

// How the formula is evaluated.
enum class Precision {
  kDouble,  // the truth
  kNaive,   // q, K, V and P rounded to q's dtype (bf16 for e4m3), out to its own, sums in f32: an
            // honest straightforward implementation, whose error sets the tolerance
};

struct OracleResult {
  std::vector<double> out;  // [num_tokens, num_q_heads, head_dim], before rounding if kDouble
  std::vector<double> lse;  // [num_tokens, num_q_heads]
  std::vector<int32_t> visible_keys;  // [num_tokens]: how many keys the row sees
  std::vector<uint8_t> written;       // [num_tokens]: 0 = the contract leaves this row alone
};

// `problem` in host memory. If `tokens` is not empty only those rows of q are computed. The
// channels of a dot product are summed in ascending order if `order` is 0, else in a random one of
// that name.
OracleResult run_oracle(const AttentionProblem& problem, Precision precision,
                        const std::vector<int32_t>& tokens = {}, uint32_t order = 0);

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_ORACLE_H_
