// Runs a plan: one task per work item, without barriers. The rows of a split item are joined by
// the item that arrives last, in key order, so that results depend on neither the number of
// workers nor on who is faster.
#include <string>

#include "core/checks.h"
#include "cpu/backend_cpu.h"
#include "cpu/kernel_table.h"
#include "cpu/plan_cpu.h"
#include "cpu/thread_pool.h"
#include "plan/needed_work.h"

namespace pagoda::cpu {
namespace {

RowStates rows_from(RowStates states, int32_t row) {
  return {states.out + int64_t{row} * states.out_stride, states.state + row, states.out_stride};
}

// One worker's memory, in the order of plan_cpu.cc's worker_bytes().
struct WorkerMemory {
  RowStates rows{};   // of the item
  RowStates split{};  // of one split of it
  Scratch scratch{};

  WorkerMemory(const CpuPlan& plan, int32_t worker) {
    next_ = plan.scratch + static_cast<size_t>(worker) * plan.worker_bytes;
    const int32_t stride = plan.partials.out_stride;
    for (RowStates* states : {&rows, &split}) {
      states->out = take<float>(int64_t{plan.max_item_rows} * stride);
      states->state = take<SoftmaxState>(plan.max_item_rows);
      states->out_stride = stride;
    }
    scratch = {next_};
  }

 private:
  template <class T>
  T* take(int64_t count) {
    std::byte* begin = next_;
    next_ += round_up(sizeof(T) * static_cast<size_t>(count), size_t{64});
    return reinterpret_cast<T*>(begin);
  }

  std::byte* next_;
};

class Runner {
 public:
  Runner(const AttentionParams& params, const CpuPlan& plan)
      : params_(params), plan_(plan), kernels_(kernels()) {}

  void run(int64_t index, int32_t worker) const {
    const WorkItem& item = plan_.items[index];
    const WorkerMemory memory(plan_, worker);
    if (item.merge_group < 0) {
      compute_all(item, memory);
      kernels_.finish_rows(params_, item, memory.rows);
    } else {
      compute_partials(item, memory);
      merge_if_last(item);
    }
  }

 private:
  int32_t num_rows(const WorkItem& item) const { return item.num_kv_heads * item.num_rows; }

  // Calls compute(kv) for each part of the item's keys that has partial results of its own: all
  // of them, or under a fixed split each cell of the grid.
  template <class Compute>
  void for_each_split(const WorkItem& item, Compute&& compute) const {
    if (params_.split_policy == SplitPolicy::kBalanced) {
      return compute(KvRange{item.kv_begin, item.kv_end});
    }
    const int64_t cell = params_.fixed_split_keys;
    int64_t begin = item.kv_begin;
    do {
      const int64_t end = min_of(int64_t{item.kv_end}, (begin / cell + 1) * cell);
      compute(KvRange{static_cast<int32_t>(begin), static_cast<int32_t>(end)});
      begin = end;
    } while (begin < item.kv_end);
  }

  void attend(const WorkItem& item, KvRange kv, const WorkerMemory& memory,
              RowStates result) const {
    kernels_.attend[static_cast<int>(item.route)](params_, item, kv, memory.scratch, result);
  }

  void compute_all(const WorkItem& item, const WorkerMemory& memory) const {
    bool first = true;
    for_each_split(item, [&](KvRange kv) {
      attend(item, kv, memory, first ? memory.rows : memory.split);
      if (!first) {
        kernels_.join_rows(memory.rows, memory.split, num_rows(item), params_.head_dim);
      }
      first = false;
    });
  }

  void compute_partials(const WorkItem& item, const WorkerMemory& memory) const {
    int32_t row = item.partial_row;
    for_each_split(item, [&](KvRange kv) {
      attend(item, kv, memory, rows_from(plan_.partials, row));
      row += num_rows(item);
    });
  }

  void merge_if_last(const WorkItem& item) const {
    const MergeGroup& group = plan_.groups[item.merge_group];
    std::atomic<int32_t>& arrivals = plan_.arrivals[item.merge_group];
    if (arrivals.fetch_add(1, std::memory_order_acq_rel) + 1 < group.num_items) return;
    arrivals.store(0, std::memory_order_relaxed);  // for the next layer
    const RowStates total = rows_from(plan_.partials, group.partial_row);
    for (int32_t i = 1; i < group.num_partials; ++i) {
      kernels_.join_rows(total, rows_from(plan_.partials, group.partial_row + i * num_rows(item)),
                         num_rows(item), params_.head_dim);
    }
    kernels_.finish_rows(params_, item, total);
  }

  const AttentionParams& params_;
  const CpuPlan& plan_;
  const Kernels& kernels_;
};

// One call's claim to the workspace of its plan.
class Claim {
 public:
  explicit Claim(std::atomic<int32_t>* in_use)
      : in_use_(in_use), granted_(in_use->exchange(1, std::memory_order_acquire) == 0) {}
  ~Claim() {
    if (granted_) in_use_->store(0, std::memory_order_release);
  }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;

  bool granted() const { return granted_; }

 private:
  std::atomic<int32_t>* in_use_;
  bool granted_;
};

// Why products are not those of bf16 pairs, which are twice as fast; empty if they are.
std::string why_not_bf16(const AttentionParams& params) {
  if (!kernels().has_bf16_dot)
    return std::string(kernels().name) + " has no products of bf16 pairs";
  if (!held_by_bf16(params.q.dtype))
    return "bf16 does not hold " + dtype_name(params.q.dtype) + " q";
  if (!held_by_bf16(params.kv.dtype)) {
    return "bf16 does not hold " + dtype_name(params.kv.dtype) + " pages";
  }
  return {};
}

}  // namespace

Status attention(const AttentionParams& params, const Plan& plan, const Execution& execution) {
  Status status;
  const CpuPlan* cpu_plan = read_plan(params, plan, &status);
  if (cpu_plan == nullptr) return status;
  const int32_t workers = pool_of(execution).num_workers;
  if (workers > cpu_plan->num_workers) {
    return {StatusCode::kInvalidArgument, "execution: got a pool of " + std::to_string(workers) +
                                              " workers, the plan was made for " +
                                              std::to_string(cpu_plan->num_workers) +
                                              "; plan with the same pool"};
  }
  const Claim claim(cpu_plan->in_use);
  if (!claim.granted()) {
    return {StatusCode::kInvalidArgument,
            "plan: got one that another call is computing with, in the same workspace; give calls "
            "that run at once a plan and a workspace each"};
  }
  const Runner runner(params, *cpu_plan);
  parallel_for(execution, cpu_plan->num_items,
               [&](int64_t index, int32_t worker) { runner.run(index, worker); });
  return {};
}

Status explain(const AttentionParams& params, const Plan& plan, Explanation* explanation) {
  Status status;
  const CpuPlan* cpu_plan = read_plan(params, plan, &status);
  if (cpu_plan == nullptr) return status;
  *explanation = {};
  explanation->backend = "cpu";
  explanation->num_items = cpu_plan->num_items;
  explanation->num_workers = cpu_plan->num_workers;
  int64_t route_items[kNumRoutes] = {};
  for (int32_t i = 0; i < cpu_plan->num_items; ++i) {
    const WorkItem& item = cpu_plan->items[i];
    ++route_items[static_cast<int>(item.route)];
    explanation->num_splits += item.merge_group >= 0;
  }
  const NeededWork needed = needed_work(params);
  explanation->kv_bytes = needed.kv_bytes;
  explanation->flops = needed.flops;
  explanation->kernel =
      std::string(kernels().name) +
      " few_rows=" + std::to_string(route_items[static_cast<int>(Route::kFewRows)]) +
      " many_rows=" + std::to_string(route_items[static_cast<int>(Route::kManyRows)]);
  const std::string why_f32 = why_not_bf16(params);
  if (why_f32.empty()) explanation->kernel += " bf16_dot";
  explanation->text =
      "arithmetic: " + (why_f32.empty() ? "products of bf16 pairs" : "f32, as " + why_f32) + "\n";
  return {};
}

}  // namespace pagoda::cpu
