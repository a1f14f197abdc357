// One problem, planned and computed, with memory and time taken care of.
#ifndef PAGODA_TOOLS_PAGODA_COMPUTE_H_
#define PAGODA_TOOLS_PAGODA_COMPUTE_H_

#include "host_memory.h"
#include "pagoda/attention.h"

namespace pagoda::tools {

struct Computed {
  Explanation explanation;
  double plan_seconds = 0.0;
  double attention_seconds = 0.0;
};

// A workspace for every problem within `limits`.
HostBuffer make_workspace(const AttentionLimits& limits);

// Throws BadInput with the library's message if it does not take the problem.
Computed compute(const AttentionProblem& problem, const HostBuffer& workspace);

inline Computed compute(const AttentionProblem& problem) {
  return compute(problem, make_workspace(limits_of(problem)));
}

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_COMPUTE_H_
