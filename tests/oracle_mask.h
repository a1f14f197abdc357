// Which keys a query sees, one pair at a time, straight from docs/semantics.md.
#ifndef PAGODA_TESTS_ORACLE_MASK_H_
#define PAGODA_TESTS_ORACLE_MASK_H_

#include <cstdint>
#include <vector>

#include "pagoda/attention.h"

namespace pagoda::testing {

// The element of a host tensor at an index; a missing axis has stride 0.
template <class T>
T at(const TensorView& view, int64_t i, int64_t j = 0, int64_t k = 0) {
  return static_cast<const T*>(
      view.data)[i * view.stride[0] + j * view.stride[1] + k * view.stride[2]];
}

// One sequence of the batch. Query i is at position context_len() + i.
struct OracleSequence {
  int64_t index;
  int64_t first_token;
  int64_t q_len;
  int64_t k_len;

  int64_t context_len() const { return k_len - q_len; }
};

// What the bias matrix adds to the logit of query i and key t; 0 where it has no element.
double bias_of(const AttentionProblem& problem, const OracleSequence& s, int64_t i, int64_t t);

// For every key of the sequence: does query i see it? A bias of -inf hides a key too.
std::vector<uint8_t> visible_keys(const AttentionProblem& problem, const OracleSequence& s,
                                  int64_t i);

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_ORACLE_MASK_H_
