// gather_kv_cache against the naive one.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kv_oracle.h"
#include "oracle_formats.h"
#include "pagoda/kv_cache.h"

namespace pagoda::testing {
namespace {

enum class Scales { kNone, kOne, kPerHead, kPerSeqAndHead, kPerTokenAndHead };

struct GatherCase {
  DType pages = DType::kBFloat16;
  DType out = DType::kBFloat16;
  PagesLayout layout = PagesLayout::kNhd;
  Scales scales = Scales::kNone;
  bool has_starts = false;
  bool is_csr = false;
  int64_t page_size = 8;
  int64_t num_kv_heads = 3;
  int64_t head_dim = 40;
  std::vector<int32_t> lengths = {5, 0, 16, 1, 37, 0};
};

std::string describe(const GatherCase& c) {
  return "pages " + std::to_string(static_cast<int>(c.pages)) + " out " +
         std::to_string(static_cast<int>(c.out)) + " layout " +
         std::to_string(static_cast<int>(c.layout)) + " scales " +
         std::to_string(static_cast<int>(c.scales)) + " starts " + std::to_string(c.has_starts) +
         " csr " + std::to_string(c.is_csr) + " page_size " + std::to_string(c.page_size) +
         " heads " + std::to_string(c.num_kv_heads) + " head_dim " + std::to_string(c.head_dim);
}

// The pages that are not gathered, and the tokens before and after those that are, stay poisoned.
class Gatherer {
 public:
  explicit Gatherer(const GatherCase& c)
      : case_(c),
        random_(3, "gather"),
        num_seqs_(static_cast<int64_t>(c.lengths.size())),
        k_out_(c.out, {num_rows() + 3, c.num_kv_heads, c.head_dim}, {{1, 0, 2}, 2}),
        v_out_(c.out, {num_rows() + 3, c.num_kv_heads, c.head_dim}, {.order = {1, 0, 2}}) {
    lay_out_tokens();
    pages_.emplace_back(c.pages,
                        std::vector<int64_t>{num_pages_, c.page_size, c.num_kv_heads, c.head_dim},
                        c.layout);
    args_.kv.k_pages = pages_[0].k();
    args_.kv.v_pages = pages_[0].v();
    draw_scales();
    for (int64_t seq = 0; seq < num_seqs_; ++seq) fill_tokens(seq);
    args_.k_out = k_out_.view();
    args_.v_out = v_out_.view();
    args_.checked = true;
  }

  void run_and_check() {
    const Status status = gather_kv_cache(args_);
    ASSERT_TRUE(status.ok()) << status.message();
    int64_t row = 0;
    for (int64_t seq = 0; seq < num_seqs_; ++seq) {
      for (int32_t i = 0; i < case_.lengths[static_cast<size_t>(seq)]; ++i, ++row) {
        check_token(seq, start_of(seq) + i, row);
      }
    }
    EXPECT_TRUE(k_out_.rest_is_intact() && v_out_.rest_is_intact());
  }

 private:
  int64_t num_rows() const {
    int64_t rows = 0;
    for (int32_t length : case_.lengths) rows += length;
    return rows;
  }

  int64_t start_of(int64_t seq) const {
    return case_.has_starts ? element_as<int32_t>(args_.seq_starts, seq) : 0;
  }

  int64_t page_of(int64_t seq, int64_t token) const {
    return page_ids_[static_cast<size_t>(seq)][static_cast<size_t>(token / case_.page_size)];
  }

  // Starts, prefix sums and page tables; pages in random order, with unused ones between.
  void lay_out_tokens() {
    args_.cu_seqlens_k = pool_.make(DType::kInt32, {num_seqs_ + 1});
    if (case_.has_starts) {
      args_.seq_starts = pool_.make(DType::kInt32, {num_seqs_});
      fill(args_.seq_starts, [&] { return 0.0; });
    }
    element_as<int32_t>(args_.cu_seqlens_k, 0) = 0;
    int64_t max_pages = 1;
    for (int64_t seq = 0; seq < num_seqs_; ++seq) {
      const int32_t length = case_.lengths[static_cast<size_t>(seq)];
      element_as<int32_t>(args_.cu_seqlens_k, seq + 1) =
          element_as<int32_t>(args_.cu_seqlens_k, seq) + length;
      if (case_.has_starts) {
        element_as<int32_t>(args_.seq_starts, seq) =
            static_cast<int32_t>(random_.below(3 * case_.page_size));
      }
      const int64_t tokens = length == 0 ? 0 : start_of(seq) + length;
      page_ids_.emplace_back((tokens + case_.page_size - 1) / case_.page_size);
      num_pages_ += static_cast<int64_t>(page_ids_.back().size());
      max_pages = std::max(max_pages, static_cast<int64_t>(page_ids_.back().size()));
    }
    num_pages_ += 4;
    std::vector<int32_t> ids;
    for (int32_t id = 0; id < num_pages_; ++id) ids.push_back(id);
    random_.shuffle(&ids);
    for (std::vector<int32_t>& pages : page_ids_) {
      for (int32_t& id : pages) {
        id = ids.back();
        ids.pop_back();
      }
    }
    case_.is_csr ? make_csr() : make_table(max_pages);
  }

  // Entries past a sequence's pages stay poisoned.
  void make_table(int64_t max_pages) {
    args_.kv.block_table = pool_.make(DType::kInt32, {num_seqs_, max_pages}, {.gap = 3});
    for (int64_t seq = 0; seq < num_seqs_; ++seq) {
      const std::vector<int32_t>& pages = page_ids_[static_cast<size_t>(seq)];
      for (size_t i = 0; i < pages.size(); ++i) {
        element_as<int32_t>(args_.kv.block_table, seq, static_cast<int64_t>(i)) = pages[i];
      }
    }
  }

  void make_csr() {
    args_.kv.page_indptr = pool_.make(DType::kInt32, {num_seqs_ + 1});
    args_.kv.page_indices = pool_.make(DType::kInt32, {num_pages_});
    int32_t entry = 0;
    element_as<int32_t>(args_.kv.page_indptr, 0) = 0;
    for (int64_t seq = 0; seq < num_seqs_; ++seq) {
      for (int32_t id : page_ids_[static_cast<size_t>(seq)]) {
        element_as<int32_t>(args_.kv.page_indices, entry++) = id;
      }
      element_as<int32_t>(args_.kv.page_indptr, seq + 1) = entry;
    }
  }

  void draw_scales() {
    PagedKvCache& kv = args_.kv;
    if (case_.scales == Scales::kNone) return;
    if (case_.scales == Scales::kPerTokenAndHead) {
      for (TensorView* scale : {&kv.k_token_scale, &kv.v_token_scale}) {
        *scale = pool_.make(DType::kFloat32, {num_pages_, case_.page_size, case_.num_kv_heads},
                            {{0, 2, 1}, 1});
      }
      return;
    }
    std::vector<int64_t> shape{case_.num_kv_heads};
    if (case_.scales == Scales::kOne) shape = {1};
    if (case_.scales == Scales::kPerSeqAndHead) shape = {num_seqs_, case_.num_kv_heads};
    for (TensorView* scale : {&kv.k_scale, &kv.v_scale}) {
      *scale = pool_.make(DType::kFloat32, shape, {.gap = 1});
      fill(*scale, [&] { return random_.uniform(); });
    }
  }

  void fill_tokens(int64_t seq) {
    const PagedKvCache& kv = args_.kv;
    for (int32_t i = 0; i < case_.lengths[static_cast<size_t>(seq)]; ++i) {
      const int64_t token = start_of(seq) + i;
      const int64_t page = page_of(seq, token);
      const int64_t offset = token % case_.page_size;
      for (int64_t head = 0; head < case_.num_kv_heads; ++head) {
        for (int64_t d = 0; d < case_.head_dim; ++d) {
          set_element(kv.k_pages, 30.0 * random_.normal(), page, offset, head, d);
          set_element(kv.v_pages, 30.0 * random_.normal(), page, offset, head, d);
        }
        if (case_.scales != Scales::kPerTokenAndHead) continue;
        set_element(kv.k_token_scale, random_.uniform(), page, offset, head);
        set_element(kv.v_token_scale, random_.uniform(), page, offset, head);
      }
    }
  }

  double scale_of(bool is_k, int64_t seq, int64_t token, int64_t head) const {
    const PagedKvCache& kv = args_.kv;
    const TensorView& scale = is_k ? kv.k_scale : kv.v_scale;
    switch (case_.scales) {
      case Scales::kNone:
        return 1.0;
      case Scales::kOne:
        return element_as<float>(scale, 0);
      case Scales::kPerHead:
        return element_as<float>(scale, head);
      case Scales::kPerSeqAndHead:
        return element_as<float>(scale, seq, head);
      default:
        return element_as<float>(is_k ? kv.k_token_scale : kv.v_token_scale, page_of(seq, token),
                                 token % case_.page_size, head);
    }
  }

  void check_token(int64_t seq, int64_t token, int64_t row) {
    for (bool is_k : {true, false}) {
      const TensorView& pages = is_k ? args_.kv.k_pages : args_.kv.v_pages;
      WatchedTensor& out = is_k ? k_out_ : v_out_;
      for (int64_t head = 0; head < case_.num_kv_heads; ++head) {
        out.allow(element(out.view(), row, head), case_.out, case_.head_dim);
        const double scale = case_.pages == case_.out ? 1.0 : scale_of(is_k, seq, token, head);
        for (int64_t d = 0; d < case_.head_dim; ++d) {
          const double stored = decode(
              case_.pages, element(pages, page_of(seq, token), token % case_.page_size, head, d));
          const double value = static_cast<float>(stored * scale);
          const void* got = element(out.view(), row, head, d);
          ASSERT_TRUE(is_rounding_of(case_.out, got, value, 0.0))
              << (is_k ? "k" : "v") << " sequence " << seq << " token " << token << " head " << head
              << " channel " << d << ": got " << decode(case_.out, got) << ", wants " << value;
        }
      }
    }
  }

  const GatherCase case_;
  Random random_;
  TensorPool pool_;
  const int64_t num_seqs_;
  int64_t num_pages_ = 0;
  std::vector<std::vector<int32_t>> page_ids_;
  std::vector<WatchedPages> pages_;
  WatchedTensor k_out_;
  WatchedTensor v_out_;
  GatherKvCache args_;
};

void check(const GatherCase& c) {
  SCOPED_TRACE(describe(c));
  Gatherer(c).run_and_check();
}

const DType kWide[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16};

TEST(GatherKvCache, CopiesInEveryLayout) {
  for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kFloat8E4M3,
                      DType::kFloat8E5M2, DType::kInt8}) {
    for (PagesLayout layout : kPagesLayouts) {
      check({.pages = dtype, .out = dtype, .layout = layout, .has_starts = true});
    }
  }
}

TEST(GatherKvCache, ConvertsBetweenWideTypes) {
  for (DType pages : kWide) {
    for (DType out : kWide) check({.pages = pages, .out = out, .is_csr = true});
  }
}

TEST(GatherKvCache, Dequantises) {
  for (DType out : kWide) {
    for (Scales scales : {Scales::kNone, Scales::kOne, Scales::kPerHead, Scales::kPerSeqAndHead,
                          Scales::kPerTokenAndHead}) {
      for (DType pages : {DType::kFloat8E4M3, DType::kFloat8E5M2, DType::kInt8}) {
        if (pages == DType::kInt8 && scales != Scales::kPerTokenAndHead) continue;
        check({.pages = pages, .out = out, .scales = scales, .has_starts = true});
        check({.pages = pages,
               .out = out,
               .layout = PagesLayout::kInterleaved,
               .scales = scales,
               .is_csr = true});
      }
    }
  }
}

TEST(GatherKvCache, AnyShape) {
  for (int64_t page_size : {1, 5, 64}) {
    for (int64_t head_dim : {1, 7, 128, 600}) {
      for (bool has_starts : {false, true}) {
        check({.has_starts = has_starts, .page_size = page_size, .head_dim = head_dim});
        check({.pages = DType::kFloat8E4M3,
               .has_starts = has_starts,
               .is_csr = true,
               .page_size = page_size,
               .num_kv_heads = 1,
               .head_dim = head_dim});
      }
    }
  }
  check({.num_kv_heads = 4, .head_dim = 128, .lengths = {200, 3, 0, 0, 130}});
  check({.lengths = {0, 0}});
  check({.lengths = {}});
}

}  // namespace
}  // namespace pagoda::testing
