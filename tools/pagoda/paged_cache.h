// The memory of a paged KV cache, and batches of sequences over it.
#ifndef PAGODA_TOOLS_PAGODA_PAGED_CACHE_H_
#define PAGODA_TOOLS_PAGODA_PAGED_CACHE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "geometry.h"
#include "pagoda/attention.h"
#include "pagoda/kv_cache.h"
#include "random_data.h"

namespace pagoda::tools {

class PagedCache {
 public:
  // Throws BadInput if the pages would take more than half of the machine's memory.
  PagedCache(const Geometry& geometry, int64_t num_pages);

  // Without block_table.
  const PagedKvCache& views() const { return cache_.views; }
  void fill_normal(Random* random);
  // NaN in every float format, so that a read of what was never written shows.
  void poison();

 private:
  HostKvCache cache_;
};

// Lengths and page tables of the sequences of one step.
class Batch {
 public:
  // Room for `max_seqs` sequences of up to `max_pages` pages each.
  Batch(int32_t max_seqs, int32_t max_pages);

  void clear();
  void add(int32_t q_len, int32_t k_len, std::span<const int32_t> pages);

  int32_t num_seqs() const { return static_cast<int32_t>(seqused_k_.size()); }
  int32_t num_tokens() const { return cu_seqlens_q_.back(); }

  // All views stay valid until the next clear().
  TensorView block_table() const;
  // Sets the problem's lengths and block table.
  void attach_to(AttentionProblem* problem) const;

 private:
  int32_t max_pages_;
  std::vector<int32_t> cu_seqlens_q_;
  std::vector<int32_t> seqused_k_;
  std::vector<int32_t> block_table_;  // [num_seqs, max_pages]
};

// A problem of `geometry` on `cache`; lengths, q and out come from the caller.
AttentionProblem make_problem(const Geometry& geometry, const PagedCache& cache);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_PAGED_CACHE_H_
