// The CUDA backend's host side: lays out the workspace, launches the planner and the kernels. No
// allocation, no synchronisation, nothing read back: every call can be captured in a graph.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "cuda/backend_cuda.h"
#include "cuda/device_guard.h"
#include "cuda/kernels/attention/launch.h"
#include "cuda/kernels/plan.h"
#include "plan/plan_shape.h"

namespace pagoda::cuda {
namespace {

constexpr uint64_t kMagic = 0x6164756361676170;  // tells a CUDA plan from garbage
constexpr size_t kAlign = 256;

// Lives in Plan::storage.
struct CudaPlan {
  uint64_t magic;
  PlanShape shape;
  Work work;
  const AttentionKernel* kernel;
  int32_t num_ctas;
};
static_assert(sizeof(CudaPlan) <= sizeof(Plan));

// A tile of 64 keys and 16 rows costs one unit per key. Items below this cost, 256 keys, spend more
// on starting than they save.
constexpr int64_t kMinShare = 256;

PlanConfig plan_config(SplitPolicy policy, int32_t fixed_split_keys, int32_t num_ctas) {
  PlanConfig config;
  config.routes[static_cast<int>(Route::kFewRows)] = {
      .tile_rows = kFewRows, .heads_per_item = 1, .rows_per_unit = kFewRows};
  config.routes[static_cast<int>(Route::kManyRows)] = {
      .tile_rows = kMaxItemRows, .heads_per_item = 1, .rows_per_unit = kFewRows};
  // One arithmetic for every row, however its sequence is cut: batch invariance.
  config.few_rows_max = policy == SplitPolicy::kFixed ? 0 : kFewRows;
  config.num_workers = num_ctas;
  config.min_share = kMinShare;
  config.policy = policy;
  config.fixed_split_keys = fixed_split_keys;
  return config;
}

struct Sizes {
  int64_t num_tokens;
  int64_t num_seqs;
  int64_t max_seqlen_k;
  int32_t num_q_heads;
  int32_t num_kv_heads;
  int32_t head_dim;
};

// Places `work` from `base` on (null to measure only); returns the bytes.
size_t lay_out(const PlanConfig& config, const Sizes& sizes, std::byte* base, Work* work) {
  const PlanBounds bounds =
      plan_bounds(config, sizes.num_tokens, sizes.num_seqs, sizes.max_seqlen_k, sizes.num_kv_heads,
                  sizes.num_q_heads / sizes.num_kv_heads);
  size_t next = 0;
  auto take = [&]<class T>(T** array, int64_t count) {
    if (base != nullptr) *array = reinterpret_cast<T*>(base + next);
    next = round_up(next + sizeof(T) * static_cast<size_t>(count), kAlign);
  };
  take(&work->header, 1);
  take(&work->items, bounds.max_items);
  take(&work->groups, bounds.max_groups);
  take(&work->arrivals, bounds.max_groups);
  take(&work->tile_begin, sizes.num_seqs + 1);
  take(&work->partials.out, bounds.max_partial_rows * sizes.head_dim);
  take(&work->partials.state, bounds.max_partial_rows);
  const int64_t total_rows =
      config.policy == SplitPolicy::kFixed ? int64_t{config.num_workers} * kMaxItemRows : 0;
  take(&work->totals.out, total_rows * sizes.head_dim);
  take(&work->totals.state, total_rows);
  return next;
}

Status device_error(cudaError_t error) {
  if (error == cudaSuccess) return {};
  return {StatusCode::kDeviceError, std::string("CUDA: ") + cudaGetErrorString(error)};
}

// The current device must be sm_90.
Status count_sms(int32_t device, int32_t* num_sms) {
  int major = 0;
  cudaError_t error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(num_sms, cudaDevAttrMultiProcessorCount, device);
  }
  if (error != cudaSuccess) return device_error(error);
  if (major == 9) return {};
  return {StatusCode::kUnsupported, "device: got compute capability " + std::to_string(major) +
                                        ".x, this build has kernels for 9.0 (Hopper)"};
}

// What the CUDA backend does not compute yet.
Status check_supported(const AttentionParams& params) {
  std::string reasons;
  auto require = [&](bool there, const char* reason) {
    if (!there) reasons += std::string(reasons.empty() ? "" : "; ") + reason;
  };
  const bool is_16_bit = params.q.dtype == DType::kBFloat16 || params.q.dtype == DType::kFloat16;
  require(is_16_bit, "q: the CUDA backend takes bf16 and f16");
  require(params.kv.dtype == params.q.dtype,
          "k_pages: the CUDA backend takes q's dtype only, no quantised KV yet");
  require(params.out.dtype != DType::kFloat8E4M3, "out: the CUDA backend has no fp8 output yet");
  require(!is_16_bit || find_attention_kernel(params.q.dtype, params.head_dim) != nullptr,
          "head_dim: this build compiled no CUDA kernel for it (PAGODA_CUDA_HEAD_DIMS)");
  if (reasons.empty()) return {};
  return {StatusCode::kUnsupported, reasons};
}

}  // namespace

Status supported(const AttentionParams& params) {
  if (Status status = check_supported(params); !status.ok()) return status;
  int32_t num_sms = 0;
  return count_sms(params.device.index, &num_sms);
}

Status workspace_size(const AttentionLimits& limits, size_t* bytes) {
  int32_t num_sms = 0;
  if (Status status = count_sms(limits.device.index, &num_sms); !status.ok()) return status;
  const Sizes sizes{.num_tokens = limits.max_num_tokens,
                    .num_seqs = limits.max_num_seqs,
                    .max_seqlen_k = limits.max_seqlen_k,
                    .num_q_heads = limits.num_q_heads,
                    .num_kv_heads = limits.num_kv_heads,
                    .head_dim = limits.head_dim};
  // Kernels differ in CTAs per SM; the limits do not name the dtype, so the most count.
  *bytes = 0;
  for (int32_t ctas_per_sm : {1, 2}) {
    Work unplaced{};
    const PlanConfig config =
        plan_config(limits.split_policy, limits.fixed_split_keys, num_sms * ctas_per_sm);
    *bytes = std::max(*bytes, lay_out(config, sizes, nullptr, &unplaced));
  }
  return {};
}

Status plan(const AttentionParams& params, const Workspace& workspace, const Execution& execution,
            Plan* plan) {
  if (Status status = check_supported(params); !status.ok()) return status;
  const DeviceGuard guard(params.device.index);
  int32_t num_sms = 0;
  if (Status status = count_sms(params.device.index, &num_sms); !status.ok()) return status;
  CudaPlan result{};
  result.magic = kMagic;
  result.shape = plan_shape(params);
  result.kernel = find_attention_kernel(params.q.dtype, params.head_dim);
  result.num_ctas = num_sms * result.kernel->ctas_per_sm;
  const PlanConfig config =
      plan_config(params.split_policy, params.fixed_split_keys, result.num_ctas);
  const Sizes sizes{.num_tokens = params.num_tokens,
                    .num_seqs = params.num_seqs,
                    .max_seqlen_k = params.max_seqlen_k,
                    .num_q_heads = params.num_q_heads,
                    .num_kv_heads = params.num_kv_heads,
                    .head_dim = params.head_dim};
  const size_t bytes =
      lay_out(config, sizes, static_cast<std::byte*>(workspace.data), &result.work);
  if (workspace.bytes < bytes) {
    return {StatusCode::kWorkspaceTooSmall,
            "workspace: got " + std::to_string(workspace.bytes) + " bytes, this batch wants " +
                std::to_string(bytes) + "; size it with workspace_size()"};
  }
  cudaError_t error = result.kernel->prepare();
  if (error == cudaSuccess) {
    error = launch_plan_kernel(config, params, result.work,
                               static_cast<cudaStream_t>(execution.stream));
  }
  if (error != cudaSuccess) return device_error(error);
  *plan = {};
  std::memcpy(plan->storage, &result, sizeof(result));
  return {};
}

namespace {

Status read_plan(const AttentionParams& params, const Plan& plan, CudaPlan* result) {
  std::memcpy(result, plan.storage, sizeof(*result));
  if (result->magic != kMagic) {
    return {StatusCode::kInvalidArgument,
            "plan: got one that plan() did not make for CUDA; call plan() first"};
  }
  if (result->shape != plan_shape(params)) {
    return {StatusCode::kInvalidArgument,
            "plan: made for a problem with other lengths, heads, head_dim, mask or split policy; "
            "call plan() for this one"};
  }
  return {};
}

}  // namespace

Status attention(const AttentionParams& params, const Plan& plan, const Execution& execution) {
  if (Status status = check_supported(params); !status.ok()) return status;
  CudaPlan cuda_plan;
  if (Status status = read_plan(params, plan, &cuda_plan); !status.ok()) return status;
  const DeviceGuard guard(params.device.index);
  return device_error(cuda_plan.kernel->launch(params, cuda_plan.work, cuda_plan.num_ctas,
                                               static_cast<cudaStream_t>(execution.stream)));
}

Status explain(const AttentionParams& params, const Plan& plan, Explanation* explanation) {
  CudaPlan cuda_plan;
  if (Status status = read_plan(params, plan, &cuda_plan); !status.ok()) return status;
  *explanation = {};
  explanation->backend = "cuda";
  explanation->kernel = "sm90 mma head_dim<=" + std::to_string(cuda_plan.kernel->head_dim) + " " +
                        std::to_string(cuda_plan.num_ctas) + " CTAs";
  explanation->text =
      "backend: cuda\nkernel: " + explanation->kernel + "\nitems: planned on the device\n";
  return {};
}

}  // namespace pagoda::cuda
