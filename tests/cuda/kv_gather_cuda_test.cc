// gather_kv_cache on the GPU stores what the CPU stores, bit for bit, and nothing else.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "cuda/arena.h"
#include "cuda/kv_cases.h"
#include "pagoda/kv_cache.h"

namespace pagoda::testing {
namespace {

class RandomGather {
 public:
  explicit RandomGather(uint32_t seed) : random_(seed, "gather on cuda") {
    std::vector<DType> all = kWideTypes;
    all.insert(all.end(), kQuantisedTypes.begin(), kQuantisedTypes.end());
    pages_dtype_ = random_.pick(all);
    out_dtype_ = random_.chance(0.4) ? pages_dtype_ : random_.pick(kWideTypes);
    num_seqs_ = random_.pick(std::vector<int64_t>{0, 1, 2, 5, 70});
    head_dim_ = random_.pick(kHeadDims);
    const bool is_large = num_seqs_ > 5 || head_dim_ > 256;
    num_heads_ =
        random_.pick(is_large ? std::vector<int64_t>{1, 2} : std::vector<int64_t>{1, 2, 3, 8});
    page_size_ = random_.pick(num_seqs_ > 5 ? std::vector<int64_t>{1, 3, 16} : kPageSizes);
    lay_out_tokens();
    const Pages pages = make_pages(&arena_, &random_, pages_dtype_,
                                   {num_pages_, page_size_, num_heads_, head_dim_});
    fill(pages.k, [&] { return draw_value(&random_, 30.0, true); });
    fill(pages.v, [&] { return draw_value(&random_, 30.0, true); });
    args_.kv.k_pages = pages.k;
    args_.kv.v_pages = pages.v;
    make_table();
    make_scales();
    const bool odd = random_.chance(0.2);
    const Placement placement{
        .order = random_.chance(0.5) ? std::vector<int>{1, 0, 2} : std::vector<int>{0, 1, 2},
        .gap = odd ? 3 : 8 * random_.below(3)};
    // Rows behind the last token's stay as they are.
    const std::vector<int64_t> shape{num_rows_ + 3, num_heads_, head_dim_};
    args_.k_out = arena_.make(out_dtype_, shape, placement);
    args_.v_out = arena_.make(out_dtype_, shape, placement, odd ? 1 : 0);
    args_.checked = true;
  }

  std::string describe() const {
    return "pages " + std::to_string(static_cast<int>(pages_dtype_)) + " out " +
           std::to_string(static_cast<int>(out_dtype_)) + " sequences " +
           std::to_string(num_seqs_) + " heads " + std::to_string(num_heads_) + " head_dim " +
           std::to_string(head_dim_) + " page_size " + std::to_string(page_size_) + " starts " +
           std::to_string(args_.seq_starts.present());
  }

  void run_and_check() {
    arena_.upload();
    GatherKvCache args = args_;
    for (TensorView* view :
         {&args.kv.k_pages, &args.kv.v_pages, &args.kv.block_table, &args.kv.page_indptr,
          &args.kv.page_indices, &args.kv.k_scale, &args.kv.v_scale, &args.kv.k_token_scale,
          &args.kv.v_token_scale, &args.cu_seqlens_k, &args.seq_starts, &args.k_out, &args.v_out}) {
      if (view->present()) *view = arena_.on_device(*view);
    }
    Status status = gather_kv_cache(args);
    ASSERT_TRUE(status.ok()) << status.message();
    status = gather_kv_cache(args_);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(arena_.difference(arena_.download()), "");
  }

 private:
  void lay_out_tokens() {
    args_.cu_seqlens_k = arena_.make(DType::kInt32, {num_seqs_ + 1});
    if (num_seqs_ > 0 && random_.chance(0.5)) {
      args_.seq_starts = arena_.make(DType::kInt32, {num_seqs_});
    }
    element_as<int32_t>(args_.cu_seqlens_k, 0) = 0;
    for (int64_t seq = 0; seq < num_seqs_; ++seq) {
      const int64_t length = random_.chance(0.3) ? 0 : random_.between(1, 40);
      int64_t start = 0;
      if (args_.seq_starts.present()) {
        start = random_.below(2 * page_size_);
        element_as<int32_t>(args_.seq_starts, seq) = static_cast<int32_t>(start);
      }
      num_rows_ += length;
      element_as<int32_t>(args_.cu_seqlens_k, seq + 1) = static_cast<int32_t>(num_rows_);
      const int64_t pages = length == 0 ? 0 : (start + length + page_size_ - 1) / page_size_;
      pages_of_.push_back(pages);
      max_pages_ = std::max(max_pages_, pages);
    }
    // Sequences share pages, now and then.
    num_pages_ = std::accumulate(pages_of_.begin(), pages_of_.end(), int64_t{3}) / 2 + 1;
  }

  // Dense or CSR; entries that no token needs stay poisoned.
  void make_table() {
    PagedKvCache& kv = args_.kv;
    const auto draw_page = [&] { return static_cast<int32_t>(random_.below(num_pages_)); };
    if (random_.chance(0.5)) {
      kv.block_table = arena_.make(DType::kInt32, {num_seqs_, max_pages_}, {.gap = 3});
      for (int64_t seq = 0; seq < num_seqs_; ++seq) {
        for (int64_t i = 0; i < pages_of_[static_cast<size_t>(seq)]; ++i) {
          element_as<int32_t>(kv.block_table, seq, i) = draw_page();
        }
      }
      return;
    }
    const int64_t entries = std::accumulate(pages_of_.begin(), pages_of_.end(), int64_t{0});
    kv.page_indptr = arena_.make(DType::kInt32, {num_seqs_ + 1});
    kv.page_indices = arena_.make(DType::kInt32, {entries});
    int32_t entry = 0;
    element_as<int32_t>(kv.page_indptr, 0) = 0;
    for (int64_t seq = 0; seq < num_seqs_; ++seq) {
      for (int64_t i = 0; i < pages_of_[static_cast<size_t>(seq)]; ++i) {
        element_as<int32_t>(kv.page_indices, entry++) = draw_page();
      }
      element_as<int32_t>(kv.page_indptr, seq + 1) = entry;
    }
  }

  void make_scales() {
    PagedKvCache& kv = args_.kv;
    if (size_of(pages_dtype_) > 1) return;
    const int64_t kind = pages_dtype_ == DType::kInt8 ? 4 : random_.below(5);
    const auto draw = [&] { return 0.01 + random_.uniform(); };
    if (kind == 4) {
      for (TensorView* scale : {&kv.k_token_scale, &kv.v_token_scale}) {
        *scale = arena_.make(DType::kFloat32, {num_pages_, page_size_, num_heads_}, {{0, 2, 1}, 1});
        fill(*scale, draw);
      }
      return;
    }
    if (kind == 0) return;
    std::vector<int64_t> shape{kind == 1 ? 1 : num_heads_};
    if (kind == 3 && num_seqs_ > 0) shape = {num_seqs_, num_heads_};
    for (TensorView* scale : {&kv.k_scale, &kv.v_scale}) {
      *scale = arena_.make(DType::kFloat32, shape, {.gap = 1});
      fill(*scale, draw);
    }
  }

  Random random_;
  Arena arena_;
  DType pages_dtype_;
  DType out_dtype_;
  int64_t num_seqs_;
  int64_t num_heads_;
  int64_t head_dim_;
  int64_t page_size_;
  int64_t num_pages_ = 0;
  int64_t max_pages_ = 1;
  int64_t num_rows_ = 0;
  std::vector<int64_t> pages_of_;
  GatherKvCache args_;
};

class GatherKvCacheCuda : public ::testing::TestWithParam<uint32_t> {};

TEST_P(GatherKvCacheCuda, StoresWhatTheCpuStores) {
  PAGODA_SKIP_WITHOUT_GPU();
  RandomGather gather(GetParam());
  SCOPED_TRACE(gather.describe());
  gather.run_and_check();
}

INSTANTIATE_TEST_SUITE_P(Random, GatherKvCacheCuda, ::testing::Range(0u, 400u));

}  // namespace
}  // namespace pagoda::testing
