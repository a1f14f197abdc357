// Computes one batch once, on one thread: what bench/instruction_counts.py counts the instructions
// of.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "batch_spec.h"
#include "compute.h"
#include "error.h"
#include "geometry.h"
#include "owned_tensor.h"
#include "paged_cache.h"
#include "random_data.h"

namespace {

namespace tools = pagoda::tools;

void compute_once(const tools::Geometry& geometry, const std::string& spec) {
  const std::vector<tools::SeqLengths> seqs = tools::parse_batch_spec(spec);
  int32_t num_pages = 0;
  int32_t max_pages = 0;
  int64_t num_tokens = 0;
  for (const tools::SeqLengths& seq : seqs) {
    num_pages += geometry.num_pages(seq.k_len);
    max_pages = std::max(max_pages, geometry.num_pages(seq.k_len));
    num_tokens += seq.q_len;
  }
  tools::Random random(1);
  tools::PagedCache cache(geometry, num_pages);
  cache.fill_normal(&random);
  const std::vector<int32_t> pages = tools::shuffled_range(num_pages, &random);
  std::span<const int32_t> unused(pages);
  tools::Batch batch(static_cast<int32_t>(seqs.size()), max_pages);
  for (const tools::SeqLengths& seq : seqs) {
    const auto count = static_cast<size_t>(geometry.num_pages(seq.k_len));
    batch.add(seq.q_len, seq.k_len, unused.first(count));
    unused = unused.subspan(count);
  }
  pagoda::AttentionProblem problem = tools::make_problem(geometry, cache);
  const tools::OwnedTensor q = tools::make_dense_tensor(
      geometry.q_dtype, {num_tokens, geometry.num_q_heads, geometry.head_dim});
  const tools::OwnedTensor out = tools::make_dense_tensor(
      geometry.out_dtype(), {num_tokens, geometry.num_q_heads, geometry.head_dim});
  tools::fill_normal(q.view, 1.0, &random);
  problem.q = q.view;
  problem.out = out.view;
  batch.attach_to(&problem);
  const tools::HostBuffer workspace = tools::make_workspace(limits_of(problem));
  tools::require_ok(pagoda::unified_attention(problem, workspace.workspace()));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Computes one batch once");
  std::string spec;
  tools::Geometry geometry;
  app.add_option("BATCH", spec, "In the grammar of pagoda bench")->required();
  tools::add_geometry_options(&app, &geometry);
  CLI11_PARSE(app, argc, argv);
  try {
    compute_once(geometry, spec);
  } catch (const tools::BadInput& error) {
    std::fprintf(stderr, "counted_batch: %s\n", error.what());
    return tools::kExitBadInput;
  }
  return 0;
}
