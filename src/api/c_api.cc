// The C API: reads the caller's structs, calls the C++ API, keeps the thread's last error.
#include "pagoda/c_api.h"

#include <cstddef>
#include <cstring>
#include <new>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "api/c_convert.h"
#include "api/c_struct.h"
#include "core/validate.h"
#include "pagoda/attention.h"
#include "pagoda/kv_cache.h"

using pagoda::check_c_struct;
using pagoda::CStruct;
using pagoda::Execution;
using pagoda::invalid_argument;
using pagoda::ParallelFor;
using pagoda::Plan;
using pagoda::read_c_struct;
using pagoda::Status;
using pagoda::to_c;
using pagoda::to_cpp;
using pagoda::write_c_struct;

namespace {

// Sizes as of version 0.1: they never change, whatever is added behind the fields named here.
constexpr CStruct<PagodaExecution> kExecution{
    "execution", offsetof(PagodaExecution, parallel_for) + sizeof(void*), pagoda_execution_init};
constexpr CStruct<PagodaProblem> kProblem{
    "problem", offsetof(PagodaProblem, checked) + sizeof(int32_t), pagoda_problem_init};
constexpr CStruct<PagodaLimits> kLimits{
    "limits", offsetof(PagodaLimits, num_workers) + sizeof(int32_t), pagoda_limits_init};
constexpr CStruct<PagodaExplanation> kExplanation{
    "explanation", offsetof(PagodaExplanation, flops) + sizeof(int64_t), pagoda_explanation_init};
constexpr CStruct<PagodaMakeKvCache> kMakeKvCache{
    "args", offsetof(PagodaMakeKvCache, token_scales) + sizeof(int32_t), pagoda_make_kv_cache_init};
constexpr CStruct<PagodaWriteKvCache> kWriteKvCache{
    "args", offsetof(PagodaWriteKvCache, checked) + sizeof(int32_t), pagoda_write_kv_cache_init};
constexpr CStruct<PagodaGatherKvCache> kGatherKvCache{
    "args", offsetof(PagodaGatherKvCache, checked) + sizeof(int32_t), pagoda_gather_kv_cache_init};
constexpr CStruct<PagodaCopyPages> kCopyPages{
    "args", offsetof(PagodaCopyPages, checked) + sizeof(int32_t), pagoda_copy_pages_init};

static_assert(sizeof(Plan) == sizeof(PagodaPlan) && alignof(Plan) == alignof(PagodaPlan));
static_assert(std::is_same_v<pagoda::ParallelTask, PagodaParallelTask>);

thread_local std::string last_message;
thread_local const char* last_error = "";

// Needs no memory of its own.
PagodaStatus fail_with_literal(const char* message) {
  last_error = message;
  return PAGODA_INTERNAL;
}

// Runs `body`, which returns a Status, as a function of the C API.
template <class Body>
PagodaStatus run(Body&& body) noexcept {
  try {
    const Status status = body();
    last_message = status.message();
    last_error = last_message.c_str();
    return static_cast<PagodaStatus>(status.code());
  } catch (const std::bad_alloc&) {
    return fail_with_literal("out of host memory");
  } catch (...) {
    return fail_with_literal("an exception inside the library; please report it");
  }
}

Status null_pointer(const char* name) {
  return invalid_argument(name, ": got null, wants a pointer");
}

// The C++ form of an optional PagodaExecution, which it may point into.
class ExecutionReader {
 public:
  Status read(const PagodaExecution* caller) {
    if (caller == nullptr) return {};
    PagodaExecution full{};
    PAGODA_RETURN_IF_ERROR(read_c_struct(kExecution, caller, &full));
    execution_.stream = full.stream;
    if (full.parallel_for == nullptr) return {};
    const PagodaParallelFor& pool = *full.parallel_for;
    parallel_for_ = {.run = pool.run, .pool = pool.pool, .num_workers = pool.num_workers};
    execution_.parallel_for = &parallel_for_;
    return pagoda::validate_execution(execution_);
  }
  const Execution& get() const { return execution_; }

 private:
  Execution execution_;
  ParallelFor parallel_for_;
};

Plan plan_of(const PagodaPlan& plan) {
  Plan result;
  std::memcpy(result.storage, plan.storage, sizeof(result.storage));
  return result;
}

// Reads `caller` and `execution` and calls function(args in C++, execution in C++).
template <class T, class Function>
PagodaStatus call(const CStruct<T>& type, const T* caller, const PagodaExecution* execution,
                  Function&& function) noexcept {
  return run([&]() -> Status {
    T full;
    PAGODA_RETURN_IF_ERROR(read_c_struct(type, caller, &full));
    ExecutionReader reader;
    PAGODA_RETURN_IF_ERROR(reader.read(execution));
    return function(to_cpp(full), reader.get());
  });
}

}  // namespace

const char* pagoda_last_error(void) {
  return last_error;
}

PagodaStatus pagoda_limits_of(const PagodaProblem* problem, const PagodaExecution* execution,
                              PagodaLimits* limits) {
  return call(kProblem, problem, execution,
              [&](const pagoda::AttentionProblem& p, const Execution& e) -> Status {
                PAGODA_RETURN_IF_ERROR(check_c_struct(kLimits, limits));
                write_c_struct(to_c(pagoda::limits_of(p, e)), limits);
                return {};
              });
}

PagodaStatus pagoda_workspace_size(const PagodaLimits* limits, size_t* bytes) {
  return call(kLimits, limits, nullptr,
              [&](const pagoda::AttentionLimits& l, const Execution&) -> Status {
                return pagoda::workspace_size(l, bytes);
              });
}

PagodaStatus pagoda_plan(const PagodaProblem* problem, PagodaWorkspace workspace,
                         const PagodaExecution* execution, PagodaPlan* plan) {
  return call(
      kProblem, problem, execution,
      [&](const pagoda::AttentionProblem& p, const Execution& e) -> Status {
        if (plan == nullptr) return null_pointer("plan");
        Plan step;
        PAGODA_RETURN_IF_ERROR(pagoda::plan(p, {workspace.data, workspace.bytes}, e, &step));
        std::memcpy(plan->storage, step.storage, sizeof(step.storage));
        return {};
      });
}

PagodaStatus pagoda_attention(const PagodaProblem* problem, const PagodaPlan* plan,
                              const PagodaExecution* execution) {
  return call(kProblem, problem, execution,
              [&](const pagoda::AttentionProblem& p, const Execution& e) -> Status {
                if (plan == nullptr) return null_pointer("plan");
                return pagoda::attention(p, plan_of(*plan), e);
              });
}

PagodaStatus pagoda_unified_attention(const PagodaProblem* problem, PagodaWorkspace workspace,
                                      const PagodaExecution* execution) {
  return call(kProblem, problem, execution,
              [&](const pagoda::AttentionProblem& p, const Execution& e) {
                return pagoda::unified_attention(p, {workspace.data, workspace.bytes}, e);
              });
}

PagodaStatus pagoda_supported(const PagodaProblem* problem) {
  return call(kProblem, problem, nullptr, [](const pagoda::AttentionProblem& p, const Execution&) {
    return pagoda::supported(p);
  });
}

PagodaStatus pagoda_explain(const PagodaProblem* problem, const PagodaPlan* plan,
                            PagodaExplanation* explanation) {
  return call(kProblem, problem, nullptr,
              [&](const pagoda::AttentionProblem& p, const Execution&) -> Status {
                if (plan == nullptr) return null_pointer("plan");
                PAGODA_RETURN_IF_ERROR(check_c_struct(kExplanation, explanation));
                static thread_local pagoda::Explanation texts;
                pagoda::Explanation result;
                PAGODA_RETURN_IF_ERROR(pagoda::explain(p, plan_of(*plan), &result));
                texts = std::move(result);
                write_c_struct({.struct_size = 0,
                                .backend = texts.backend.c_str(),
                                .kernel = texts.kernel.c_str(),
                                .text = texts.text.c_str(),
                                .num_items = texts.num_items,
                                .num_splits = texts.num_splits,
                                .kv_bytes = texts.kv_bytes,
                                .flops = texts.flops,
                                .num_workers = texts.num_workers,
                                .roof_seconds = texts.roof_seconds,
                                .predicted_seconds = texts.predicted_seconds},
                               explanation);
                return {};
              });
}

PagodaStatus pagoda_make_kv_cache(const PagodaMakeKvCache* args, PagodaKvCache* cache) {
  return call(kMakeKvCache, args, nullptr,
              [&](const pagoda::MakeKvCache& a, const Execution&) -> Status {
                if (cache == nullptr) return null_pointer("cache");
                pagoda::HostKvCache made;
                PAGODA_RETURN_IF_ERROR(pagoda::make_kv_cache(a, &made));
                *cache = to_c(std::move(made));
                return {};
              });
}

void pagoda_free_kv_cache(PagodaKvCache* cache) {
  if (cache == nullptr || cache->memory == nullptr) return;
  pagoda::UnmapMemory{cache->bytes}(cache->memory);
  *cache = {};
}

PagodaStatus pagoda_write_kv_cache(const PagodaWriteKvCache* args,
                                   const PagodaExecution* execution) {
  return call(kWriteKvCache, args, execution, pagoda::write_kv_cache);
}

PagodaStatus pagoda_merge_states(const PagodaState* states, int32_t num_states,
                                 const PagodaState* merged, int32_t lse_layout,
                                 const PagodaExecution* execution) {
  return run([&]() -> Status {
    if (merged == nullptr) return null_pointer("merged");
    if (states == nullptr) return null_pointer("states");
    ExecutionReader reader;
    PAGODA_RETURN_IF_ERROR(reader.read(execution));
    std::vector<pagoda::AttentionState> list;
    list.reserve(1);  // so that an empty list is no null pointer
    for (int32_t i = 0; i < num_states; ++i) list.push_back(to_cpp(states[i]));
    return pagoda::merge_states(list.data(), num_states, to_cpp(*merged),
                                static_cast<pagoda::LseLayout>(lse_layout), reader.get());
  });
}

PagodaStatus pagoda_gather_kv_cache(const PagodaGatherKvCache* args,
                                    const PagodaExecution* execution) {
  return call(kGatherKvCache, args, execution, pagoda::gather_kv_cache);
}

PagodaStatus pagoda_copy_pages(const PagodaCopyPages* args, const PagodaExecution* execution) {
  return call(kCopyPages, args, execution, pagoda::copy_pages);
}

PagodaStatus pagoda_swap_pages(const PagodaCopyPages* args, const PagodaExecution* execution) {
  return call(kCopyPages, args, execution, pagoda::swap_pages);
}
