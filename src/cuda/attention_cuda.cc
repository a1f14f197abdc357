// The CUDA backend's host side: lays out the workspace, launches the planner and the kernels. No
// allocation, no synchronisation, nothing read back: every call but explain() can be captured in a
// graph.
#include <cuda_runtime_api.h>

#include <cstring>
#include <string>

#include "core/paged_kv.h"
#include "cuda/backend_cuda.h"
#include "cuda/converted_boxes.h"
#include "cuda/device_guard.h"
#include "cuda/device_status.h"
#include "cuda/explain_step.h"
#include "cuda/host_lengths.h"
#include "cuda/kernels/combine.h"
#include "cuda/kernels/convert_kv.h"
#include "cuda/kernels/plan.h"
#include "cuda/step_kernels.h"
#include "cuda/step_layout.h"
#include "plan/kv_conversion.h"
#include "plan/plan_shape.h"

namespace pagoda::cuda {
namespace {

constexpr uint64_t kMagic = 0x6164756361676170;  // tells a CUDA plan from garbage

// Lives in Plan::storage.
struct CudaPlan {
  uint64_t magic;
  PlanShape shape;
  // What lay_out() made of the workspace, to be made again.
  void* workspace;
  int32_t max_seqlen_k;
  int32_t num_sms;
  int32_t converted_tiles;
  bool has_prefill;
  cudaStream_t stream;  // that the plan is made in
};
static_assert(sizeof(CudaPlan) <= sizeof(Plan));

// The device must be sm_90.
Status count_sms(int32_t device, int32_t* num_sms) {
  if (Status status = check_hopper(device); !status.ok()) return status;
  return device_error(cudaDeviceGetAttribute(num_sms, cudaDevAttrMultiProcessorCount, device));
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
  // The limits do not name the dtype: kernels of one head_dim differ in nothing that counts here.
  const AttentionKernel* kernel = find_attention_kernel(DType::kBFloat16, limits.head_dim, true);
  if (kernel == nullptr) return {StatusCode::kUnsupported, kNoKernel};
  const auto find_prefill = [&](DType kv_dtype) {
    return limits.split_policy == SplitPolicy::kFixed
               ? nullptr
               : find_prefill_kernel({.q_dtype = DType::kBFloat16,
                                      .kv_dtype = kv_dtype,
                                      .token_scales = false,
                                      .head_dim = limits.head_dim,
                                      .soft_cap = false});
  };
  const PrefillKernel* prefill = find_prefill(DType::kBFloat16);
  const PrefillKernel* converter = find_prefill(limits.kv_dtype);
  const int32_t group = limits.num_q_heads / limits.num_kv_heads;
  const int64_t wanted = converter != nullptr && converter->converts
                             ? wanted_converted_tiles(limits.max_num_tokens, limits.max_num_seqs,
                                                      limits.max_seqlen_k, group)
                             : 0;
  const Sizes sizes{
      .policy = limits.split_policy,
      .fixed_split_keys = limits.fixed_split_keys,
      .num_tokens = limits.max_num_tokens,
      .num_seqs = limits.max_num_seqs,
      .max_seqlen_k = limits.max_seqlen_k,
      .group = group,
      .kernel_head_dim = kernel->head_dim,
      .converted_tiles = fitting_tiles(wanted, limits.num_kv_heads, limits.head_dim, SIZE_MAX / 2),
      .num_kv_heads = limits.num_kv_heads,
      .head_dim = limits.head_dim,
      .prefill_alone = false};
  Works unplaced{};
  *bytes = lay_out(sizes, *kernel, prefill, num_sms, nullptr, &unplaced);
  return {};
}

Status plan(const AttentionParams& params, const Workspace& workspace, const Execution& execution,
            Plan* plan) {
  if (Status status = check_supported(params); !status.ok()) return status;
  const DeviceGuard guard(params.device.index);
  int32_t num_sms = 0;
  if (Status status = count_sms(params.device.index, &num_sms); !status.ok()) return status;
  const AttentionKernel* kernel = find_kernel(params);
  const bool may_have_many_rows = int64_t{params.max_seqlen_q} * params.group > kFewRows;
  const PrefillKernel* prefill = may_have_many_rows ? find_prefill(params) : nullptr;
  Works works{};
  const auto lay_out_with = [&](int32_t converted_tiles) {
    return lay_out(sizes_of(params, params.max_seqlen_k, kernel->head_dim, converted_tiles),
                   *kernel, prefill, num_sms, workspace.data, &works);
  };
  const size_t bytes = lay_out_with(0);
  if (workspace.bytes < bytes) {
    return {StatusCode::kWorkspaceTooSmall,
            "workspace: got " + std::to_string(workspace.bytes) + " bytes, this batch wants " +
                std::to_string(bytes) + "; size it with workspace_size()"};
  }
  // What is left of the workspace makes long prompts over 8-bit K and V faster.
  int32_t converted_tiles = 0;
  if (prefill != nullptr && prefill->converts &&
      int64_t{params.max_seqlen_q} * params.group >= kMinConvertedRows) {
    const int64_t wanted = wanted_converted_tiles(params.num_tokens, params.num_seqs,
                                                  params.max_seqlen_k, params.group);
    converted_tiles =
        fitting_tiles(wanted, params.num_kv_heads, params.head_dim, workspace.bytes - bytes);
    lay_out_with(converted_tiles);
  }
  const cudaError_t error =
      launch_plan_kernel(params, works, static_cast<cudaStream_t>(execution.stream));
  if (error != cudaSuccess) return device_error(error);
  const CudaPlan result{.magic = kMagic,
                        .shape = plan_shape(params),
                        .workspace = workspace.data,
                        .max_seqlen_k = params.max_seqlen_k,
                        .num_sms = num_sms,
                        .converted_tiles = converted_tiles,
                        .has_prefill = prefill != nullptr,
                        .stream = static_cast<cudaStream_t>(execution.stream)};
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

// The kernels by which `plan` computes `params`. Layers that share a plan may differ in what their
// logits need.
Status find_kernels(const AttentionParams& params, const Plan& plan, CudaPlan* cuda_plan,
                    StepKernels* kernels) {
  if (Status status = check_supported(params); !status.ok()) return status;
  if (Status status = read_plan(params, plan, cuda_plan); !status.ok()) return status;
  *kernels = {find_kernel(params), cuda_plan->has_prefill ? find_prefill(params) : nullptr};
  if (cuda_plan->has_prefill && kernels->prefill == nullptr) {
    return {StatusCode::kInvalidArgument,
            "plan: made for logits without ALiBi and bias and for interval masks, "
            "which this problem has not; call plan() for this one"};
  }
  return {};
}

Works works_of(const AttentionParams& params, const CudaPlan& plan, const StepKernels& kernels) {
  Works works{};
  lay_out(sizes_of(params, plan.max_seqlen_k, kernels.attention->head_dim, plan.converted_tiles),
          *kernels.attention, kernels.prefill, plan.num_sms, plan.workspace, &works);
  return works;
}

}  // namespace

Status attention(const AttentionParams& params, const Plan& plan, const Execution& execution) {
  CudaPlan cuda_plan;
  StepKernels kernels;
  if (Status status = find_kernels(params, plan, &cuda_plan, &kernels); !status.ok()) return status;
  if (params.num_tokens == 0) return {};  // there may be no memory to point the copy engine to
  const DeviceGuard guard(params.device.index);
  const auto [kernel, prefill] = kernels;
  KvBoxes boxes;
  if (Status status = make_kv_boxes(params, kernel->head_dim, false, &boxes); !status.ok()) {
    return status;
  }
  const auto stream = static_cast<cudaStream_t>(execution.stream);
  const Works works = works_of(params, cuda_plan, kernels);
  cudaError_t error = cudaSuccess;
  if (prefill != nullptr) {
    // Its tiles have panels side by side, each a box of its own.
    PrefillBoxes panels{};
    if (params.q.dtype == prefill->dtype) {
      panels.query = make_query_boxes(params, prefill->tile_rows);
    }
    const ConvertedKv& converted = works.last().converted;
    if (!prefill->converts) {
      Status status = make_kv_boxes(params, kernel->head_dim, true, &panels.kv);
      if (!status.ok()) return status;
    } else if (converted.capacity > 0) {
      Status status = make_converted_boxes(params, converted, &panels.kv);
      if (!status.ok()) return status;
      error = launch_convert_kv(params, converted, stream);
    }
    if (error == cudaSuccess) error = prefill->launch(params, works.last(), panels, stream);
  }
  const bool prefill_alone = prefill != nullptr && works.count == 1;
  if (error == cudaSuccess && !prefill_alone) {
    error = kernel->launch(params, works.of[0], boxes, stream);
  }
  if (error == cudaSuccess && may_be_cut(works, cuda_plan.max_seqlen_k)) {
    error = launch_combine_kernel(params, works, kernel->head_dim, stream);
  }
  return device_error(error);
}

namespace {

std::string kernels_text(const StepKernels& kernels, const Works& works, int32_t num_sms) {
  const auto kernel_text = [](const char* instruction, int32_t head_dim, int32_t num_ctas) {
    return std::string("sm90 ") + instruction + " head_dim<=" + std::to_string(head_dim) + ", " +
           std::to_string(num_ctas) + " CTAs";
  };
  const std::string attention =
      kernel_text("mma", kernels.attention->head_dim, num_sms * kernels.attention->ctas_per_sm);
  if (kernels.prefill == nullptr) return attention;
  const std::string prefill = kernel_text("wgmma", kernels.prefill->head_dim, num_sms);
  if (works.count == 1) return prefill;
  return attention + "; sequences of more than " + std::to_string(kFewRows) +
         " packed rows: " + prefill;
}

}  // namespace

Status explain(const AttentionParams& params, const Plan& plan, Explanation* explanation) {
  CudaPlan cuda_plan;
  StepKernels kernels;
  if (Status status = find_kernels(params, plan, &cuda_plan, &kernels); !status.ok()) return status;
  const DeviceGuard guard(params.device.index);
  HostLengths lengths(params);
  if (Status status = lengths.fetch(cuda_plan.stream); !status.ok()) return status;
  const Works works = works_of(params, cuda_plan, kernels);
  const StepSummary step = summarise(works, lengths.params());
  *explanation = {};
  explanation->backend = "cuda";
  explanation->kernel = kernels_text(kernels, works, cuda_plan.num_sms);
  explain_step(step, step_time(lengths.params(), step, kernels.attention->head_dim), explanation);
  return {};
}

}  // namespace pagoda::cuda
