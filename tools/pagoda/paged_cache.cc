#include "paged_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "error.h"
#include "owned_tensor.h"
#include "units.h"

namespace pagoda::tools {
namespace {

// int8 data is made for one scale, at which 4 standard deviations just fit.
constexpr float kInt8Scale = 4.0f / 127.0f;

// [num_pages, page_size, num_kv_heads, ...row] in the order of memory that the layout wants.
TensorView view_pages(const Geometry& geometry, int64_t num_pages, DType dtype,
                      std::initializer_list<int64_t> row) {
  TensorView view{.dtype = dtype};
  const int64_t heads = geometry.num_kv_heads;
  const int64_t tokens = geometry.page_size;
  int64_t row_elements = 1;
  for (const int64_t extent : row) row_elements *= extent;
  const bool token_major = geometry.layout == KvLayout::kNhd;
  view.shape[0] = num_pages;
  view.stride[0] = tokens * heads * row_elements;
  view.shape[1] = tokens;
  view.stride[1] = row_elements * (token_major ? heads : 1);
  view.shape[2] = heads;
  view.stride[2] = row_elements * (token_major ? 1 : tokens);
  view.rank = 3;
  for (const int64_t extent : row) {
    view.shape[view.rank] = extent;
    view.stride[view.rank++] = 1;
  }
  return view;
}

void fill_scales(const TensorView& scales) {
  auto* values = static_cast<float*>(scales.data);
  std::fill(values, values + scales.num_elements(), kInt8Scale);
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
  const auto allocate = [&](HostBuffer* memory, TensorView view) {
    *memory = HostBuffer(dense_bytes(view));
    view.data = memory->data();
    return view;
  };
  const TensorView pages =
      view_pages(geometry, num_pages, geometry.kv_dtype(), {geometry.head_dim});
  views_.k_pages = allocate(&k_pages_, pages);
  views_.v_pages = allocate(&v_pages_, pages);
  if (geometry.kv_dtype() == DType::kInt8) {
    const TensorView scales = view_pages(geometry, num_pages, DType::kFloat32, {});
    views_.k_token_scale = allocate(&k_token_scale_, scales);
    views_.v_token_scale = allocate(&v_token_scale_, scales);
  }
}

void PagedCache::fill_normal(Random* random) {
  const bool int8 = views_.k_token_scale.present();
  const double deviation = int8 ? 1.0 / kInt8Scale : 1.0;
  tools::fill_normal(views_.k_pages, deviation, random);
  tools::fill_normal(views_.v_pages, deviation, random);
  if (!int8) return;
  fill_scales(views_.k_token_scale);
  fill_scales(views_.v_token_scale);
}

void PagedCache::poison() {
  for (const HostBuffer* memory : {&k_pages_, &v_pages_, &k_token_scale_, &v_token_scale_}) {
    if (memory->bytes() > 0) std::memset(memory->data(), 0xff, memory->bytes());
  }
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
