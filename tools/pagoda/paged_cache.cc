#include "paged_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "error.h"
#include "host_memory.h"
#include "units.h"

namespace pagoda::tools {
namespace {

// int8 data is made for one scale, at which 4 standard deviations just fit.
constexpr float kInt8Scale = 4.0f / 127.0f;

void fill_scales(const TensorView& scales) {
  std::fill_n(static_cast<float*>(scales.data), scales.num_elements(), kInt8Scale);
}

}  // namespace

PagedCache::PagedCache(const Geometry& geometry, int64_t num_pages) {
  const double bytes = static_cast<double>(num_pages) * geometry.page_size *
                       static_cast<double>(geometry.kv_bytes_per_token());
  const double limit = static_cast<double>(physical_memory_bytes()) / 2;
  if (bytes > limit) {
    throw BadInput(
        fmt::format("KV cache: got {} pages, {}, wants at most {}, half of this machine's "
                    "memory; use fewer or shorter sequences",
                    num_pages, format_bytes(bytes), format_bytes(limit)));
  }
  require_ok(make_kv_cache({.num_pages = num_pages,
                            .page_size = geometry.page_size,
                            .num_kv_heads = geometry.num_kv_heads,
                            .head_dim = geometry.head_dim,
                            .dtype = geometry.kv_dtype(),
                            .layout = geometry.layout},
                           &cache_));
}

void PagedCache::fill_normal(Random* random) {
  const bool int8 = views().k_token_scale.present();
  const double deviation = int8 ? 1.0 / kInt8Scale : 1.0;
  tools::fill_normal(views().k_pages, deviation, random);
  tools::fill_normal(views().v_pages, deviation, random);
  if (!int8) return;
  fill_scales(views().k_token_scale);
  fill_scales(views().v_token_scale);
}

void PagedCache::poison() {
  std::memset(cache_.memory.get(), 0xff, cache_.memory.get_deleter().bytes);
}

Batch::Batch(int32_t max_seqs, int32_t max_pages) : max_pages_(max_pages), cu_seqlens_q_{0} {
  const auto seqs = static_cast<size_t>(max_seqs);
  cu_seqlens_q_.reserve(seqs + 1);
  seqused_k_.reserve(seqs);
  block_table_.reserve(seqs * static_cast<size_t>(max_pages));
}

void Batch::clear() {
  cu_seqlens_q_.resize(1);
  seqused_k_.clear();
  block_table_.clear();
}

void Batch::add(int32_t q_len, int32_t k_len, std::span<const int32_t> pages) {
  cu_seqlens_q_.push_back(cu_seqlens_q_.back() + q_len);
  seqused_k_.push_back(k_len);
  block_table_.insert(block_table_.end(), pages.begin(), pages.end());
  block_table_.resize(seqused_k_.size() * static_cast<size_t>(max_pages_), /*unused entry*/ -1);
}

TensorView Batch::block_table() const {
  return TensorView::contiguous(block_table_.data(), DType::kInt32, {num_seqs(), max_pages_});
}

void Batch::attach_to(AttentionProblem* problem) const {
  problem->cu_seqlens_q =
      TensorView::contiguous(cu_seqlens_q_.data(), DType::kInt32, {num_seqs() + 1});
  problem->seqused_k = TensorView::contiguous(seqused_k_.data(), DType::kInt32, {num_seqs()});
  problem->kv.block_table = block_table();
}

AttentionProblem make_problem(const Geometry& geometry, const PagedCache& cache) {
  AttentionProblem problem;
  problem.kv = cache.views();
  problem.mask.window_left = geometry.window_left;
  return problem;
}

}  // namespace pagoda::tools
