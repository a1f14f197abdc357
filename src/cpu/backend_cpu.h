// What src/api calls of the CPU backend. Arguments are validated.
#ifndef PAGODA_CPU_BACKEND_CPU_H_
#define PAGODA_CPU_BACKEND_CPU_H_

#include "core/attention_params.h"
#include "pagoda/attention.h"
#include "pagoda/kv_cache.h"

namespace pagoda::cpu {

Status workspace_size(const AttentionLimits& limits, size_t* bytes);
Status plan(const AttentionParams& params, const Workspace& workspace, const Execution& execution,
            Plan* plan);
Status attention(const AttentionParams& params, const Plan& plan, const Execution& execution);
// Checked mode: lengths, page ids and token scales that attention() would read. Names the first
// violation as (sequence, column, value).
Status check_contents(const AttentionParams& params);
// In `text` only what other backends do not say.
Status explain(const AttentionParams& params, const Plan& plan, Explanation* explanation);

Status make_kv_cache(const MakeKvCache& args, HostKvCache* cache);
Status write_kv_cache(const WriteKvCache& args, const Execution& execution);
Status merge_states(const AttentionState* states, int32_t num_states, const AttentionState& merged,
                    LseLayout lse_layout, const Execution& execution);
Status gather_kv_cache(const GatherKvCache& args, const Execution& execution);
Status copy_pages(const CopyPages& args, const Execution& execution);

}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_BACKEND_CPU_H_
