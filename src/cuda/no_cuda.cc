// Stands in for the CUDA backend in a build without one, so that src/api needs no #ifdef.
#include "cuda/backend_cuda.h"

namespace pagoda::cuda {
namespace {

Status no_cuda() {
  return {StatusCode::kUnsupported,
          "device: got cuda, but this build of Pagoda has no CUDA backend; pass CPU tensors"};
}

}  // namespace

Status supported(const AttentionParams&) {
  return no_cuda();
}
Status workspace_size(const AttentionLimits&, size_t*) {
  return no_cuda();
}
Status plan(const AttentionParams&, const Workspace&, const Execution&, Plan*) {
  return no_cuda();
}
Status attention(const AttentionParams&, const Plan&, const Execution&) {
  return no_cuda();
}
Status explain(const AttentionParams&, const Plan&, Explanation*) {
  return no_cuda();
}
Status write_kv_cache(const WriteKvCache&, const Execution&) {
  return no_cuda();
}
Status merge_states(const AttentionState*, int32_t, const AttentionState&, LseLayout,
                    const Execution&) {
  return no_cuda();
}
Status gather_kv_cache(const GatherKvCache&, const Execution&) {
  return no_cuda();
}
Status copy_pages(const CopyPages&, const Execution&) {
  return no_cuda();
}
Status swap_pages(const CopyPages&, const Execution&) {
  return no_cuda();
}

}  // namespace pagoda::cuda
