// What src/api calls of the CUDA backend. Arguments are validated.
#ifndef PAGODA_CUDA_BACKEND_CUDA_H_
#define PAGODA_CUDA_BACKEND_CUDA_H_

#include "core/attention_params.h"
#include "pagoda/attention.h"
#include "pagoda/kv_cache.h"

namespace pagoda::cuda {

// Ok, or every reason why this build or device does not compute `params`.
Status supported(const AttentionParams& params);
Status workspace_size(const AttentionLimits& limits, size_t* bytes);
Status plan(const AttentionParams& params, const Workspace& workspace, const Execution& execution,
            Plan* plan);
Status attention(const AttentionParams& params, const Plan& plan, const Execution& execution);
// In `text` only what other backends do not say. Waits for the plan's stream.
Status explain(const AttentionParams& params, const Plan& plan, Explanation* explanation);

Status write_kv_cache(const WriteKvCache& args, const Execution& execution);
Status merge_states(const AttentionState* states, int32_t num_states, const AttentionState& merged,
                    LseLayout lse_layout, const Execution& execution);
Status gather_kv_cache(const GatherKvCache& args, const Execution& execution);
Status copy_pages(const CopyPages& args, const Execution& execution);
Status swap_pages(const CopyPages& args, const Execution& execution);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_BACKEND_CUDA_H_
