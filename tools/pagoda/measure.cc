#include "measure.h"

#include <algorithm>
#include <span>

#include "compute.h"
#include "error.h"
#include "owned_tensor.h"
#include "paged_cache.h"
#include "timing.h"

namespace pagoda::tools {
namespace {

constexpr int64_t kMinCalls = 3;
constexpr int64_t kPlanCalls = 15;
constexpr int32_t kMaxKvSets = 64;

// Between two uses of a set, this many last-level caches of other K and V pass by.
constexpr double kCachesBetween = 2.0;

// Enough sets to find none in a cache, within a quarter of the machine's memory.
int32_t num_kv_sets(double set_bytes) {
  const double wanted =
      1.0 + kCachesBetween * static_cast<double>(last_level_cache_bytes()) / set_bytes;
  const double affordable = static_cast<double>(physical_memory_bytes()) / 4 / set_bytes;
  return static_cast<int32_t>(std::clamp(std::min(wanted, affordable), 1.0, double{kMaxKvSets}));
}

int64_t total_tokens(const std::vector<SeqLengths>& seqs) {
  int64_t tokens = 0;
  for (const SeqLengths& seq : seqs) tokens += seq.q_len;
  return tokens;
}

int64_t total_pages(const Geometry& geometry, const std::vector<SeqLengths>& seqs) {
  int64_t pages = 0;
  for (const SeqLengths& seq : seqs) pages += geometry.num_pages(seq.k_len);
  return pages;
}

// The batch over each KV set: equal lengths, other pages.
std::vector<Batch> make_batches(const Geometry& geometry, const std::vector<SeqLengths>& seqs,
                                int32_t num_sets, Random* random) {
  const int64_t num_pages = total_pages(geometry, seqs);
  const std::vector<int32_t> pages =
      shuffled_range(static_cast<int32_t>(num_pages * num_sets), random);
  int32_t max_pages = 0;
  for (const SeqLengths& seq : seqs) max_pages = std::max(max_pages, geometry.num_pages(seq.k_len));
  std::vector<Batch> batches;
  std::span<const int32_t> unused(pages);
  for (int32_t set = 0; set < num_sets; ++set) {
    Batch& batch = batches.emplace_back(static_cast<int32_t>(seqs.size()), max_pages);
    for (const SeqLengths& seq : seqs) {
      const auto count = static_cast<size_t>(geometry.num_pages(seq.k_len));
      batch.add(seq.q_len, seq.k_len, unused.first(count));
      unused = unused.subspan(count);
    }
  }
  return batches;
}

double median_plan_seconds(const AttentionProblem& problem, const HostBuffer& workspace,
                           Plan* step) {
  std::vector<double> samples;
  for (int64_t i = 0; i < kPlanCalls; ++i) {
    const Stopwatch stopwatch;
    require_ok(plan(problem, workspace.workspace(), {}, step));
    samples.push_back(stopwatch.seconds());
  }
  return median(std::move(samples));
}

// Seconds of each call. One plan serves all batches: it depends on lengths, not on pages.
std::vector<double> time_calls(AttentionProblem problem, const Plan& step,
                               const std::vector<Batch>& batches, double min_seconds) {
  // A first call, not measured: fetches code and touches the workspace.
  require_ok(attention(problem, step));
  std::vector<double> samples;
  const Stopwatch total;
  while (static_cast<int64_t>(samples.size()) < kMinCalls || total.seconds() < min_seconds) {
    problem.kv.block_table = batches[(samples.size() + 1) % batches.size()].block_table();
    const Stopwatch stopwatch;
    require_ok(attention(problem, step));
    samples.push_back(stopwatch.seconds());
  }
  return samples;
}

}  // namespace

Measurement measure(const Geometry& geometry, const std::vector<SeqLengths>& seqs,
                    const MeasureOptions& options) {
  Random random(options.seed);
  const int64_t num_pages = total_pages(geometry, seqs);
  Measurement result;
  result.num_kv_sets = num_kv_sets(static_cast<double>(num_pages) * geometry.page_size *
                                   static_cast<double>(geometry.kv_bytes_per_token()));
  PagedCache cache(geometry, num_pages * result.num_kv_sets);
  cache.fill_normal(&random);
  const std::vector<Batch> batches = make_batches(geometry, seqs, result.num_kv_sets, &random);

  AttentionProblem problem = make_problem(geometry, cache);
  const int64_t tokens = total_tokens(seqs);
  const OwnedTensor q =
      make_dense_tensor(geometry.q_dtype, {tokens, geometry.num_q_heads, geometry.head_dim});
  const OwnedTensor out =
      make_dense_tensor(geometry.out_dtype(), {tokens, geometry.num_q_heads, geometry.head_dim});
  fill_normal(q.view, 1.0, &random);
  problem.q = q.view;
  problem.out = out.view;
  batches.front().attach_to(&problem);

  const HostBuffer workspace = make_workspace(limits_of(problem));
  Plan step;
  result.plan_seconds = median_plan_seconds(problem, workspace, &step);
  std::vector<double> samples = time_calls(problem, step, batches, options.min_seconds);
  Explanation explanation;
  require_ok(explain(problem, step, &explanation));
  result.num_calls = static_cast<int64_t>(samples.size());
  result.fastest_seconds = *std::min_element(samples.begin(), samples.end());
  result.attention_seconds = median(std::move(samples));
  result.bytes = static_cast<double>(explanation.kv_bytes) +
                 static_cast<double>(dense_bytes(q.view) + dense_bytes(out.view));
  result.flops = static_cast<double>(explanation.flops);
  result.kernel = explanation.kernel;
  result.num_workers = explanation.num_workers;
  return result;
}

}  // namespace pagoda::tools
