#include "cpu/plan_cpu.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <tuple>

#include "cpu/backend_cpu.h"
#include "cpu/kernel_table.h"
#include "cpu/thread_pool.h"

namespace pagoda::cpu {
namespace {

constexpr uint64_t kMagic = 0x31757063646f6761;  // tells a CPU plan from garbage
constexpr size_t kAlign = 64;

// The batch is cut for this many workers whatever their number is, so that results do not depend
// on it; enough for a socket to stay busy, few enough that joining costs nothing.
constexpr int32_t kShares = 64;
// About 2 MB of 16-bit K and V at head_dim 128, 100 us of one core: less, and starting items and
// joining their results shows.
constexpr int64_t kMinShare = 4096;
// Of many rows: a whole row tile over 256 keys, 200 us of one core. Packing Q twice and joining
// costs a tenth of that.
constexpr int64_t kMinManyRowsItem = 2 * kMinShare + kItemCost;

struct PlanSizes {
  int64_t num_tokens;
  int64_t num_seqs;
  int64_t max_seqlen_k;
  int32_t num_q_heads;
  int32_t num_kv_heads;
  int32_t head_dim;
  int32_t num_workers;
};

// Byte offsets into the workspace.
struct Layout {
  size_t items;
  size_t groups;
  size_t in_use;
  size_t arrivals;
  size_t partial_out;
  size_t partial_state;
  size_t scratch;
  size_t worker_bytes;
  size_t total;
  int32_t max_item_rows;
};

class Offsets {
 public:
  template <class T>
  size_t take(int64_t count) {
    const size_t begin = next_;
    next_ = round_up(begin + sizeof(T) * static_cast<size_t>(count), kAlign);
    return begin;
  }
  size_t total() const { return next_; }

 private:
  size_t next_ = 0;
};

int32_t out_stride(int32_t head_dim) {
  return round_up(head_dim, kRowAlign);
}

// The order of attention_cpu.cc's WorkerMemory: two sets of rows, then the kernel's scratch.
size_t worker_bytes(const PlanSizes& sizes, int32_t max_item_rows) {
  Offsets offsets;
  for (int i = 0; i < 2; ++i) {
    offsets.take<float>(int64_t{max_item_rows} * out_stride(sizes.head_dim));
    offsets.take<SoftmaxState>(max_item_rows);
  }
  offsets.take<std::byte>(
      static_cast<int64_t>(kernels().scratch_bytes(sizes.head_dim, max_item_rows)));
  return offsets.total();
}

Layout layout(const PlanConfig& config, const PlanSizes& sizes) {
  const int32_t group = sizes.num_q_heads / sizes.num_kv_heads;
  const PlanBounds bounds = plan_bounds(config, sizes.num_tokens, sizes.num_seqs,
                                        sizes.max_seqlen_k, sizes.num_kv_heads, group);
  Layout result;
  result.max_item_rows =
      std::max(config.routes[1].tile_rows,
               kFewRowsMax * std::min(config.routes[0].heads_per_item, sizes.num_kv_heads));
  Offsets offsets;
  result.items = offsets.take<WorkItem>(bounds.max_items);
  result.groups = offsets.take<MergeGroup>(bounds.max_groups);
  result.in_use = offsets.take<std::atomic<int32_t>>(1);
  result.arrivals = offsets.take<std::atomic<int32_t>>(bounds.max_groups);
  result.partial_out = offsets.take<float>(bounds.max_partial_rows * out_stride(sizes.head_dim));
  result.partial_state = offsets.take<SoftmaxState>(bounds.max_partial_rows);
  result.worker_bytes = worker_bytes(sizes, result.max_item_rows);
  result.scratch =
      offsets.take<std::byte>(static_cast<int64_t>(result.worker_bytes) * sizes.num_workers);
  result.total = offsets.total();
  return result;
}

// NHD keeps the heads of a token together, so one item walks over all of them.
int32_t few_rows_heads(const PagesParams& k, int32_t num_kv_heads) {
  return k.head_stride <= k.token_stride ? num_kv_heads : 1;
}

// Long items first, so that no worker is left with one at the end.
bool runs_before(const WorkItem& a, const WorkItem& b) {
  return std::tuple(-a.cost, a.seq, a.row_begin, a.kv_head, a.kv_begin) <
         std::tuple(-b.cost, b.seq, b.row_begin, b.kv_head, b.kv_begin);
}

Status check_default_pool() {
  const std::string& error = default_pool_error();
  return error.empty() ? Status{} : Status{StatusCode::kInvalidArgument, error};
}

}  // namespace

PlanConfig plan_config(SplitPolicy policy, int32_t fixed_split_keys, int32_t few_rows_heads) {
  PlanConfig config;
  config.routes[static_cast<int>(Route::kFewRows)] = {
      .tile_rows = kFewRowsMax, .heads_per_item = few_rows_heads, .rows_per_unit = 4};
  config.routes[static_cast<int>(Route::kManyRows)] = {.tile_rows = kernels().many_rows_tile,
                                                       .heads_per_item = 1,
                                                       .rows_per_unit = 8,
                                                       .min_item_cost = kMinManyRowsItem};
  // One arithmetic for every row, however its sequence is cut: batch invariance.
  config.few_rows_max = policy == SplitPolicy::kFixed ? 0 : kFewRowsMax;
  config.num_workers = kShares;
  config.min_share = kMinShare;
  config.policy = policy;
  config.fixed_split_keys = fixed_split_keys;
  return config;
}

Status workspace_size(const AttentionLimits& limits, size_t* bytes) {
  if (limits.num_workers == 0) {
    if (Status status = check_default_pool(); !status.ok()) return status;
  }
  const int32_t fixed_split_keys = limits.fixed_split_keys;
  const PlanSizes sizes{.num_tokens = limits.max_num_tokens,
                        .num_seqs = limits.max_num_seqs,
                        .max_seqlen_k = limits.max_seqlen_k,
                        .num_q_heads = limits.num_q_heads,
                        .num_kv_heads = limits.num_kv_heads,
                        .head_dim = limits.head_dim,
                        .num_workers = limits.num_workers > 0 ? limits.num_workers
                                                              : default_parallel_for().num_workers};
  *bytes = 0;
  for (int32_t heads : {1, limits.num_kv_heads}) {
    const PlanConfig config = plan_config(limits.split_policy, fixed_split_keys, heads);
    *bytes = std::max(*bytes, layout(config, sizes).total);
  }
  return {};
}

Status plan(const AttentionParams& params, const Workspace& workspace, const Execution& execution,
            Plan* plan) {
  if (!isa_error().empty()) return {StatusCode::kInvalidArgument, isa_error()};
  if (execution.parallel_for == nullptr) {
    if (Status status = check_default_pool(); !status.ok()) return status;
  }
  const PlanSizes sizes{.num_tokens = params.num_tokens,
                        .num_seqs = params.num_seqs,
                        .max_seqlen_k = params.max_seqlen_k,
                        .num_q_heads = params.num_q_heads,
                        .num_kv_heads = params.num_kv_heads,
                        .head_dim = params.head_dim,
                        .num_workers = pool_of(execution).num_workers};
  const PlanConfig config = plan_config(params.split_policy, params.fixed_split_keys,
                                        few_rows_heads(params.kv.k, params.num_kv_heads));
  const Layout where = layout(config, sizes);
  if (workspace.bytes < where.total) {
    return {StatusCode::kWorkspaceTooSmall,
            "workspace: got " + std::to_string(workspace.bytes) + " bytes, this batch wants " +
                std::to_string(where.total) + "; size it with workspace_size()"};
  }
  std::byte* base = static_cast<std::byte*>(workspace.data);
  PlanLists lists{};
  lists.items = reinterpret_cast<WorkItem*>(base + where.items);
  lists.groups = reinterpret_cast<MergeGroup*>(base + where.groups);
  build_plan(config, params, &lists);
  std::sort(lists.items, lists.items + lists.num_items, runs_before);
  auto* in_use = new (base + where.in_use) std::atomic<int32_t>(0);
  auto* arrivals = reinterpret_cast<std::atomic<int32_t>*>(base + where.arrivals);
  for (int32_t i = 0; i < lists.num_groups; ++i) new (&arrivals[i]) std::atomic<int32_t>(0);

  CpuPlan result{};
  result.magic = kMagic;
  result.shape = plan_shape(params);
  result.items = lists.items;
  result.groups = lists.groups;
  result.in_use = in_use;
  result.arrivals = arrivals;
  result.partials = {reinterpret_cast<float*>(base + where.partial_out),
                     reinterpret_cast<SoftmaxState*>(base + where.partial_state),
                     out_stride(params.head_dim)};
  result.scratch = base + where.scratch;
  result.worker_bytes = where.worker_bytes;
  result.max_item_rows = where.max_item_rows;
  result.num_items = lists.num_items;
  result.num_groups = lists.num_groups;
  result.num_workers = sizes.num_workers;
  *plan = {};
  std::memcpy(plan->storage, &result, sizeof(result));
  return {};
}

const CpuPlan* read_plan(const AttentionParams& params, const Plan& plan, Status* status) {
  const auto* cpu_plan = reinterpret_cast<const CpuPlan*>(plan.storage);
  if (cpu_plan->magic != kMagic) {
    *status = {StatusCode::kInvalidArgument,
               "plan: got one that plan() did not make for the CPU; call plan() first"};
    return nullptr;
  }
  if (cpu_plan->shape != plan_shape(params)) {
    *status = {
        StatusCode::kInvalidArgument,
        "plan: made for a problem with other shapes, heads, head_dim, mask or split policy, or "
        "with cu_seqlens_q or seqused_k at other addresses; call plan() for this one"};
    return nullptr;
  }
  return cpu_plan;
}

}  // namespace pagoda::cpu
