// Pages, block tables and scales of a case.
#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "build_case_parts.h"
#include "oracle_formats.h"

namespace pagoda::testing {
namespace {

struct PageMap {
  std::vector<std::vector<int32_t>> of_seq;  // page ids in key order
  std::vector<int32_t> filled;               // tokens written, by page id
};

// One in ten full pages stands in for another one, of any sequence; a quarter of all is unused.
PageMap assign_pages(const Case& c) {
  Random random(c.seed, "pages");
  PageMap map;
  std::vector<int32_t> full;
  for (const auto& seq : c.seqs) {
    std::vector<int32_t>& pages = map.of_seq.emplace_back();
    for (int32_t begin = 0; begin < seq.second; begin += c.page_size) {
      const int32_t tokens = std::min(c.page_size, seq.second - begin);
      if (tokens == c.page_size && !full.empty() && random.chance(0.1)) {
        pages.push_back(random.pick(full));
        continue;
      }
      pages.push_back(static_cast<int32_t>(map.filled.size()));
      map.filled.push_back(tokens);
      if (tokens == c.page_size) full.push_back(pages.back());
    }
  }
  map.filled.resize(map.filled.size() + std::max<size_t>(2, map.filled.size() / 4));

  std::vector<int32_t> shuffled(map.filled.size());
  std::iota(shuffled.begin(), shuffled.end(), 0);
  random.shuffle(&shuffled);
  std::vector<int32_t> filled(map.filled.size());
  for (size_t page = 0; page < filled.size(); ++page) filled[shuffled[page]] = map.filled[page];
  map.filled = filled;
  for (auto& pages : map.of_seq) {
    for (int32_t& page : pages) page = shuffled[page];
  }
  return map;
}

void make_dense_table(const Case& c, const PageMap& map, TensorPool* pool, PagedKvCache* kv) {
  Random random(c.seed, "table");
  const std::vector<int32_t> garbage = {-1, INT_MAX, INT_MIN, 0x5a5a5a5a,
                                        static_cast<int32_t>(map.filled.size())};
  size_t longest = 0;
  for (const auto& pages : map.of_seq) longest = std::max(longest, pages.size());
  const auto max_pages = static_cast<int64_t>(longest) + 2;
  const auto num_seqs = static_cast<int64_t>(c.seqs.size());
  kv->block_table = pool->make(DType::kInt32, {num_seqs, max_pages}, {.gap = has_gaps(c) ? 5 : 0});
  for (int64_t s = 0; s < num_seqs; ++s) {
    const auto count = static_cast<int64_t>(map.of_seq[s].size());
    for (int64_t j = 0; j < max_pages; ++j) {
      element_as<int32_t>(kv->block_table, s, j) =
          j < count ? map.of_seq[s][j] : random.pick(garbage);
    }
  }
}

void make_csr_table(const PageMap& map, TensorPool* pool, PagedKvCache* kv) {
  std::vector<int32_t> indices;
  kv->page_indptr = pool->make(DType::kInt32, {static_cast<int64_t>(map.of_seq.size()) + 1});
  for (size_t s = 0; s < map.of_seq.size(); ++s) {
    element_as<int32_t>(kv->page_indptr, s) = static_cast<int32_t>(indices.size());
    indices.insert(indices.end(), map.of_seq[s].begin(), map.of_seq[s].end());
  }
  element_as<int32_t>(kv->page_indptr, map.of_seq.size()) = static_cast<int32_t>(indices.size());
  kv->page_indices = pool->make(DType::kInt32, {static_cast<int64_t>(indices.size())});
  std::copy(indices.begin(), indices.end(), static_cast<int32_t*>(kv->page_indices.data));
}

// K and V by the case's layout; a padded case strides them differently.
void make_pages(const Case& c, int64_t num_pages, TensorPool* pool, PagedKvCache* kv) {
  const std::vector<int64_t> shape = {num_pages, c.page_size, c.num_kv_heads, c.head_dim};
  const std::vector<int> head_major = {0, 2, 1, 3};
  switch (c.layout) {
    case KvLayout::kNhd:
      kv->k_pages = pool->make(c.kv_dtype, shape);
      kv->v_pages = pool->make(c.kv_dtype, shape);
      break;
    case KvLayout::kHnd:
      kv->k_pages = pool->make(c.kv_dtype, shape, {.order = head_major});
      kv->v_pages = pool->make(c.kv_dtype, shape, {.order = head_major});
      break;
    case KvLayout::kInterleaved:
      kv->k_pages = pool->make(c.kv_dtype, {shape[0], shape[1], shape[2], 2 * shape[3]});
      kv->k_pages.shape[3] = c.head_dim;
      kv->v_pages = kv->k_pages;
      kv->v_pages.data = element(kv->k_pages, 0, 0, 0, c.head_dim);
      break;
    case KvLayout::kPadded:
      kv->k_pages = pool->make(c.kv_dtype, shape, {.gap = kRowGap});
      kv->v_pages = pool->make(c.kv_dtype, shape, {.order = head_major, .gap = 2 * kRowGap});
      break;
  }
  if (c.kv_dtype != DType::kInt8) return;
  // int8 has no NaN: extreme values instead, and token scales that are NaN where nothing is
  // written.
  const size_t bytes = bytes_spanned(kv->k_pages);
  std::memset(kv->k_pages.data, 0x80, bytes);
  std::memset(kv->v_pages.data, 0x80, bytes_spanned(kv->v_pages));
}

// Writes one token's row of a head, with its own scale if `token_scale` is present.
void write_row(const TensorView& pages, const TensorView& token_scale, int64_t page, int64_t slot,
               int64_t head, double scale, const std::vector<double>& values) {
  if (token_scale.present()) {
    double largest = 0.0;
    for (double x : values) largest = std::max(largest, std::abs(x));
    float& stored = element_as<float>(token_scale, page, slot, head);
    stored = static_cast<float>(largest / max_finite(pages.dtype));
    scale = stored;
  }
  for (size_t d = 0; d < values.size(); ++d) {
    encode(pages.dtype, values[d] / scale, element(pages, page, slot, head, d));
  }
}

template <class Draw>
void fill_pages(const Case& c, const PageMap& map, const TensorView& pages,
                const TensorView& token_scale, Draw draw) {
  const double scale = nominal_scale(c, c.scales, c.kv_dtype);
  std::vector<double> values(c.head_dim);
  for (size_t page = 0; page < map.filled.size(); ++page) {
    for (int32_t slot = 0; slot < map.filled[page]; ++slot) {
      for (int32_t head = 0; head < c.num_kv_heads; ++head) {
        for (int64_t d = 0; d < c.head_dim; ++d) values[d] = draw(d);
        write_row(pages, token_scale, page, slot, head, scale, values);
      }
    }
  }
}

// One element of the middle key of every sequence; of int8, which is always finite, its scale.
void spoil_pages(const Case& c, const PageMap& map, const TensorView& pages,
                 const TensorView& token_scale, double value) {
  Random random(c.seed, "spoiled keys");
  for (size_t s = 0; s < c.seqs.size(); ++s) {
    if (c.seqs[s].second == 0) continue;
    const int32_t t = c.seqs[s].second / 2;
    const int32_t page = map.of_seq[s][t / c.page_size];
    const int64_t head = random.below(c.num_kv_heads);
    if (c.kv_dtype == DType::kInt8) {
      element_as<float>(token_scale, page, t % c.page_size, head) = static_cast<float>(value);
    } else {
      encode(c.kv_dtype, value,
             element(pages, page, t % c.page_size, head, random.below(c.head_dim)));
    }
  }
}

}  // namespace

double nominal_scale(const Case& c, ScaleKind kind, DType dtype) {
  const bool small = kind != ScaleKind::kNone && is_quantised(dtype) && !has_large_channel(c);
  return small ? 0.05 : 1.0;
}

TensorView make_scale(const Case& c, ScaleKind kind, DType dtype, const std::string& stream,
                      TensorPool* pool) {
  const auto num_seqs = static_cast<int64_t>(c.seqs.size());
  std::vector<int64_t> shape;
  if (kind == ScaleKind::kNone) return {};
  if (kind == ScaleKind::kScalar) shape = {1};
  if (kind == ScaleKind::kPerHead) shape = {c.num_kv_heads};
  if (kind == ScaleKind::kPerSeqHead) shape = {num_seqs, c.num_kv_heads};
  TensorView scale = pool->make(DType::kFloat32, shape, loose(c));
  Random random(c.seed, stream);
  for (int64_t i = 0; i < scale.shape[0]; ++i) {
    for (int64_t j = 0; j < (scale.rank == 2 ? scale.shape[1] : 1); ++j) {
      element_as<float>(scale, i, j) =
          static_cast<float>(nominal_scale(c, kind, dtype) * (0.5 + random.uniform()));
    }
  }
  return scale;
}

void make_zeros(const Case& c, ZeroScales zero, const TensorView& scale) {
  if (!scale.present() || (c.zero_scales != zero && c.zero_scales != ZeroScales::kAll)) return;
  Random random(c.seed, "zero scales");
  bool is_first = true;
  const auto extent = [&](int axis) { return axis < scale.rank ? scale.shape[axis] : 1; };
  for (int64_t i = 0; i < extent(0); ++i) {
    for (int64_t j = 0; j < extent(1); ++j) {
      for (int64_t k = 0; k < extent(2); ++k) {
        float& value = element_as<float>(scale, i, j, k);
        if (std::isnan(value)) continue;  // of no token
        if (is_first || random.chance(0.5)) value = 0.0f;
        is_first = false;
      }
    }
  }
}

PagedKvCache build_kv(const Case& c, TensorPool* pool) {
  PagedKvCache kv;
  const PageMap map = assign_pages(c);
  const auto num_pages = static_cast<int64_t>(map.filled.size());
  if (c.table == TableKind::kDense) {
    make_dense_table(c, map, pool, &kv);
  } else {
    make_csr_table(map, pool, &kv);
  }
  make_pages(c, num_pages, pool, &kv);
  if (c.scales == ScaleKind::kPerTokenHead) {
    const std::vector<int64_t> shape = {num_pages, c.page_size, c.num_kv_heads};
    kv.k_token_scale = pool->make(DType::kFloat32, shape, loose(c));
    kv.v_token_scale = pool->make(DType::kFloat32, shape, {.order = {0, 2, 1}});
  } else {
    kv.k_scale = make_scale(c, c.scales, c.kv_dtype, "k scale", pool);
    kv.v_scale = make_scale(c, c.scales, c.kv_dtype, "v scale", pool);
  }

  Random keys(c.seed, "keys");
  fill_pages(c, map, kv.k_pages, kv.k_token_scale,
             [&](int64_t d) { return draw_key(c, d, &keys); });
  Random values(c.seed, "values");
  fill_pages(c, map, kv.v_pages, kv.v_token_scale, [&](int64_t) { return values.normal(); });
  for (const TensorView& scale : {kv.k_scale, kv.k_token_scale})
    make_zeros(c, ZeroScales::kK, scale);
  for (const TensorView& scale : {kv.v_scale, kv.v_token_scale})
    make_zeros(c, ZeroScales::kV, scale);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  if (c.non_finite == NonFinite::kNanK) spoil_pages(c, map, kv.k_pages, kv.k_token_scale, nan);
  if (c.non_finite == NonFinite::kNanV) spoil_pages(c, map, kv.v_pages, kv.v_token_scale, nan);
  if (c.non_finite == NonFinite::kInfK) spoil_pages(c, map, kv.k_pages, kv.k_token_scale, infinity);
  if (c.non_finite == NonFinite::kInfV) spoil_pages(c, map, kv.v_pages, kv.v_token_scale, infinity);
  return kv;
}

}  // namespace pagoda::testing
