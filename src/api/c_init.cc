// The part of the C API that cannot fail: version, names, defaults, dense tensors.
#include <algorithm>

#include "pagoda/c_api.h"
#include "pagoda/status.h"

using pagoda::StatusCode;

namespace {

// False if there is nothing to clear.
template <class T>
bool clear(T* value) {
  if (value == nullptr) return false;
  *value = {};
  value->struct_size = sizeof(T);
  return true;
}

}  // namespace

const char* pagoda_version(void) {
  return PAGODA_VERSION_STRING;
}

const char* pagoda_status_name(PagodaStatus code) {
  switch (static_cast<StatusCode>(code)) {
    case StatusCode::kOk:
      return "ok";
    case StatusCode::kInvalidArgument:
      return "invalid argument";
    case StatusCode::kUnsupported:
      return "unsupported";
    case StatusCode::kWorkspaceTooSmall:
      return "workspace too small";
    case StatusCode::kInvalidContents:
      return "invalid contents";
    case StatusCode::kDeviceError:
      return "device error";
    case StatusCode::kInternal:
      return "internal error";
  }
  return "unknown status";
}

void pagoda_execution_init(PagodaExecution* execution) {
  clear(execution);
}
void pagoda_problem_init(PagodaProblem* problem) {
  if (!clear(problem)) return;
  problem->causal = 1;
  problem->window_left = -1;
  problem->window_right = -1;
  problem->prefix_window_left = -1;
}
void pagoda_limits_init(PagodaLimits* limits) {
  if (clear(limits)) limits->kv_dtype = PAGODA_BFLOAT16;
}
void pagoda_explanation_init(PagodaExplanation* explanation) {
  clear(explanation);
}
void pagoda_make_kv_cache_init(PagodaMakeKvCache* args) {
  if (!clear(args)) return;
  args->page_size = 64;
  args->dtype = PAGODA_BFLOAT16;
}
void pagoda_write_kv_cache_init(PagodaWriteKvCache* args) {
  clear(args);
}
void pagoda_gather_kv_cache_init(PagodaGatherKvCache* args) {
  clear(args);
}
void pagoda_copy_pages_init(PagodaCopyPages* args) {
  clear(args);
}

PagodaTensor pagoda_contiguous(const void* data, PagodaDType dtype, int32_t rank,
                               const int64_t* shape, PagodaDevice device) {
  PagodaTensor tensor = {};
  tensor.data = const_cast<void*>(data);
  tensor.dtype = dtype;
  tensor.device = device;
  tensor.rank = rank;
  if (shape == nullptr && rank > 0) {
    tensor.rank = -1;
    return tensor;
  }
  int64_t stride = 1;
  for (int32_t i = std::min<int32_t>(rank, PAGODA_MAX_RANK) - 1; i >= 0; --i) {
    tensor.shape[i] = shape[i];
    tensor.stride[i] = stride;
    // An absurd shape wraps here; the call that takes it says what is wrong.
    stride = static_cast<int64_t>(static_cast<uint64_t>(stride) * static_cast<uint64_t>(shape[i]));
  }
  return tensor;
}
