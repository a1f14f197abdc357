// The cache operations that the CUDA backend does not have yet.
#include "cuda/backend_cuda.h"

namespace pagoda::cuda {
namespace {

Status not_yet() {
  return {StatusCode::kUnsupported,
          "device: got cuda, but the KV-cache operations run on the CPU only so far"};
}

}  // namespace

Status write_kv_cache(const WriteKvCache&, const Execution&) {
  return not_yet();
}
Status merge_states(const AttentionState*, int32_t, const AttentionState&, LseLayout,
                    const Execution&) {
  return not_yet();
}
Status gather_kv_cache(const GatherKvCache&, const Execution&) {
  return not_yet();
}
Status copy_pages(const CopyPages&, const Execution&) {
  return not_yet();
}
Status swap_pages(const CopyPages&, const Execution&) {
  return not_yet();
}

}  // namespace pagoda::cuda
