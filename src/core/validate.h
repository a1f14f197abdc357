// Every argument check of the library, once, for C++, C and Python. A check that fails names the
// argument, what it got, what it wants and, where one exists, the fix.
#ifndef PAGODA_CORE_VALIDATE_H_
#define PAGODA_CORE_VALIDATE_H_

#include "core/attention_params.h"
#include "pagoda/attention.h"
#include "pagoda/kv_cache.h"
#include "pagoda/status.h"

namespace pagoda {

// Which fields of a problem a call reads.
enum class ProblemUse {
  kPlan,     // shapes, lengths, mask, policy: data of q, K, V and out may be null
  kCompute,  // everything
};

// Checks `problem` and lays it out for the backends. Sizes that do not fit fail alone, since all
// else depends on them; otherwise the message has a line for every argument that is wrong.
Status make_attention_params(const AttentionProblem& problem, ProblemUse use,
                             AttentionParams* params);

// The caller's thread pool, if there is one.
Status validate_execution(const Execution& execution);

Status validate_limits(const AttentionLimits& limits);

Status validate_make_kv_cache(const MakeKvCache& args);

// These check contents too where the arguments ask for it and the host can read them.
Status validate_write_kv_cache(const WriteKvCache& args);
Status validate_merge_states(const AttentionState* states, int32_t num_states,
                             const AttentionState& merged, LseLayout lse_layout);
Status validate_gather_kv_cache(const GatherKvCache& args);
Status validate_copy_pages(const CopyPages& args, bool across_devices);

}  // namespace pagoda

#endif  // PAGODA_CORE_VALIDATE_H_
