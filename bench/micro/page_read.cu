// How fast pages in random order can be read, and what that needs: page size and layout, the way of
// copying, when page ids are read, bytes in flight, CTAs per SM.
#include <algorithm>
#include <bit>
#include <numeric>
#include <random>

#include "measure.h"
#include "page_read_kernels.cuh"

namespace pagoda::micro {
namespace {

constexpr int kHeads = 8;
constexpr int64_t kPoolBytes = int64_t{6} << 30;
constexpr int kSeqTokens = 4096;

enum class Layout { kTokensOfHeads, kHeadsOfTokens };

// The truth about the checksum: one warp per (sequence, head, page), plain loads.
__global__ void checksum_of_pages(PageCache cache, uint32_t* checksum) {
  const int32_t pages = cache.num_pages();
  const auto warps = static_cast<int32_t>(gridDim.x * blockDim.x / 32);
  Checksum sum;
  for (auto i = static_cast<int32_t>((blockIdx.x * blockDim.x + threadIdx.x) / 32); i < pages;
       i += warps) {
    const PagePlace place = place_of(cache, i);
    const uint8_t* page = cache.data + load_page_id(cache, i, pages) * cache.page_stride +
                          place.head * cache.head_stride;
    for (int at = threadIdx.x % 32; at < cache.page_tokens() * 16; at += 32) {
      sum.add(*reinterpret_cast<const uint4*>(page + at / 16 * cache.token_stride + at % 16 * 16));
    }
  }
  sum.add_to(checksum);
}

struct Setup {
  int page_tokens = 16;
  Layout layout = Layout::kTokensOfHeads;
  int64_t bytes = int64_t{1} << 30;  // per launch
  BoxShape box = {.panels = 1, .evict_first = 1};
  int ctas_per_sm = 1;
  int num_ctas = 0;  // instead of ctas_per_sm, where not 0
  cuda::L2Promotion promotion = cuda::L2Promotion::k128B;
};

// A kernel and how it is launched.
struct Way {
  std::string name;
  IdsRead ids;
  int stages, threads, smem_bytes;
};

const char* name_of(IdsRead ids) {
  return ids == IdsRead::kJustBefore  ? "just_before"
         : ids == IdsRead::kInBatches ? "batches"
                                      : "ahead";
}

class PageRead {
 public:
  explicit PageRead(Report& report)
      : report_(report),
        gpu_(current_gpu()),
        pool_(kPoolBytes),
        checksum_(std::vector<uint32_t>{0}) {
    fill_normal_bf16(pool_.get(), pool_.bytes(), 2);
  }

  void run();

 private:
  template <int kStages, int kStageTokens = 64, IdsRead kIds = IdsRead::kAhead>
  void tma(const Setup& setup) {
    const int smem = kStages * kStageTokens * kRowBytes;
    const auto kernel = read_pages_by_tma<kStages, kStageTokens, kIds>;
    const cuda::TensorMap map = map_of(setup);
    measure({"tma", kIds, kStages, kTmaThreads, smem}, setup, kernel,
            [&](int ctas, const PageCache& cache) {
              kernel<<<ctas, kTmaThreads, smem>>>(map, cache, setup.box, checksum_.get());
            });
  }

  template <int kThreads, int kStages, IdsRead kIds = IdsRead::kAhead>
  void cp_async(const Setup& setup) {
    constexpr int kStageTokens = 64;
    const int smem = kStages * kStageTokens * kRowBytes;
    const auto kernel = read_pages_by_cp_async<kThreads, kStages, kStageTokens, kIds>;
    measure({"cp_async" + text(kThreads), kIds, kStages, kThreads, smem}, setup, kernel,
            [&](int ctas, const PageCache& cache) {
              kernel<<<ctas, kThreads, smem>>>(cache, checksum_.get());
            });
  }

  template <class Kernel, class Launch>
  void measure(const Way& way, const Setup& setup, Kernel kernel, const Launch& launch);

  PageCache cache_of(const Setup& setup, const int32_t* page_ids) const;
  cuda::TensorMap map_of(const Setup& setup) const;

  Report& report_;
  Gpu gpu_;
  Buffer<uint8_t> pool_;
  Buffer<uint32_t> checksum_;
};

PageCache PageRead::cache_of(const Setup& setup, const int32_t* page_ids) const {
  const int64_t page_bytes = int64_t{setup.page_tokens} * kHeads * kRowBytes;
  const bool tokens_first = setup.layout == Layout::kTokensOfHeads;
  const int pages_per_seq = kSeqTokens / setup.page_tokens;
  return {.page_ids = page_ids,
          .data = pool_.get(),
          .page_stride = page_bytes,
          .token_stride = tokens_first ? kHeads * kRowBytes : kRowBytes,
          .head_stride = tokens_first ? kRowBytes : setup.page_tokens * kRowBytes,
          .num_seqs = static_cast<int32_t>(setup.bytes / page_bytes / pages_per_seq),
          .log2_pages_per_seq = std::countr_zero(static_cast<uint32_t>(pages_per_seq)),
          .log2_num_heads = std::countr_zero(static_cast<uint32_t>(kHeads)),
          .log2_page_tokens = std::countr_zero(static_cast<uint32_t>(setup.page_tokens))};
}

cuda::TensorMap PageRead::map_of(const Setup& setup) const {
  const PageCache cache = cache_of(setup, nullptr);
  const int64_t token = cache.token_stride / 2, head = cache.head_stride / 2;
  const int64_t page = cache.page_stride / 2, pages = kPoolBytes / cache.page_stride;
  const cuda::TensorMapSpec box_per_panel{.data = pool_.get(),
                                          .rank = 4,
                                          .extent = {128, kHeads, setup.page_tokens, pages},
                                          .stride = {1, head, token, page},
                                          .box = {64, 1, setup.page_tokens, 1},
                                          .l2_promotion = setup.promotion};
  const cuda::TensorMapSpec box_per_page{.data = pool_.get(),
                                         .rank = 5,
                                         .extent = {64, setup.page_tokens, 2, kHeads, pages},
                                         .stride = {1, token, 64, head, page},
                                         .box = {64, setup.page_tokens, 2, 1, 1},
                                         .l2_promotion = setup.promotion};
  const cuda::TensorMapSpec& spec = setup.box.panels == 1 ? box_per_panel : box_per_page;
  cuda::TensorMap map;
  if (const Status status = cuda::make_tensor_map(spec, &map); !status.ok()) {
    std::fprintf(stderr, "gpu_micro: %s\n", status.message().c_str());
    std::exit(1);
  }
  return map;
}

template <class Kernel, class Launch>
void PageRead::measure(const Way& way, const Setup& setup, Kernel kernel, const Launch& launch) {
  const int ctas = setup.num_ctas != 0 ? setup.num_ctas : setup.ctas_per_sm * gpu_.num_sms;
  allow_smem(kernel, way.smem_bytes);
  int resident = 0;
  check(
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, way.threads, way.smem_bytes),
      "occupancy");
  if (resident < setup.ctas_per_sm) return;

  // Every launch reads another random part of the pool.
  const int64_t pool_pages = kPoolBytes / (int64_t{setup.page_tokens} * kHeads * kRowBytes);
  std::vector<int32_t> order(pool_pages);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(3));
  const Buffer<int32_t> page_ids(order);
  const PageCache whole = cache_of(setup, page_ids.get());
  const int64_t pages_read = int64_t{whole.num_seqs} * whole.pages_per_seq();
  const int64_t windows = pool_pages / pages_read;
  const auto window = [&](int number) {
    PageCache cache = whole;
    cache.page_ids += number % windows * pages_read;
    return cache;
  };

  checksum_.clear();
  launch(ctas, window(0));
  const uint32_t got = checksum_.to_host()[0];
  checksum_.clear();
  checksum_of_pages<<<1024, 256>>>(window(0), checksum_.get());
  const bool right = got == checksum_.to_host()[0] && got != 0;

  const double us =
      median_us({.samples = 9, .batch = 4}, [&](int number) { launch(ctas, window(number)); });
  report_.add("page_read/" + way.name,
              {{"page", text(setup.page_tokens)},
               {"layout", setup.layout == Layout::kTokensOfHeads ? "nhd" : "hnd"},
               {"ids", name_of(way.ids)},
               {"panels", text(setup.box.panels)},
               {"stage_kib", text(way.smem_bytes / way.stages / 1024)},
               {"stages", text(way.stages)},
               {"ctas", text(ctas)},
               {"mib", text(setup.bytes >> 20)},
               {"evict_first", text(setup.box.evict_first)},
               {"l2_promotion", text(static_cast<int>(setup.promotion))}},
              static_cast<double>(setup.bytes) / us * 1e-6, "TB/s", right ? "" : "WRONG DATA");
}

void PageRead::run() {
  constexpr auto kJustBefore = IdsRead::kJustBefore;
  constexpr auto kInBatches = IdsRead::kInBatches;
  constexpr auto kHnd = Layout::kHeadsOfTokens;
  report_.section("pages: when ids are read");
  for (int page : {16, 32, 64}) {
    tma<8, 64, kJustBefore>({.page_tokens = page});
    tma<8, 64, kInBatches>({.page_tokens = page});
    tma<8>({.page_tokens = page});
    cp_async<256, 8, kJustBefore>({.page_tokens = page});
    cp_async<256, 8>({.page_tokens = page});
  }
  report_.section("pages: layout, box");
  for (int page : {16, 32, 64}) {
    for (int panels : {1, 2}) {
      for (Layout layout : {Layout::kTokensOfHeads, kHnd}) {
        tma<8>({.page_tokens = page, .layout = layout, .box = {panels, 1}});
      }
    }
  }
  report_.section("pages of 16: stages and CTAs per SM");
  for (int panels : {1, 2}) {
    for (int ctas : {1, 2, 3}) {
      const Setup setup{.box = {panels, 1}, .ctas_per_sm = ctas};
      tma<2>(setup);
      tma<3>(setup);
      tma<4>(setup);
      tma<6>(setup);
      tma<8>(setup);
      tma<12>(setup);
      tma<2, 128>(setup);
      tma<3, 128>(setup);
      tma<4, 128>(setup);
      tma<6, 128>(setup);
      tma<4, 32>(setup);
      tma<8, 32>(setup);
      tma<16, 32>(setup);
    }
  }
  for (int ctas : {1, 2, 3}) {
    const Setup setup{.ctas_per_sm = ctas};
    cp_async<128, 3>(setup);
    cp_async<128, 4>(setup);
    cp_async<128, 6>(setup);
    cp_async<128, 12>(setup);
    cp_async<256, 4>(setup);
    cp_async<256, 6>(setup);
    cp_async<256, 12>(setup);
  }
  report_.section("pages: hints to L2");
  for (auto promotion :
       {cuda::L2Promotion::kNone, cuda::L2Promotion::k128B, cuda::L2Promotion::k256B}) {
    for (int evict_first : {1, 0, 1, 0}) {
      tma<8>({.box = {2, evict_first}, .promotion = promotion});
      tma<4>({.box = {2, evict_first}, .ctas_per_sm = 3, .promotion = promotion});
    }
  }
  report_.section("smaller pages");
  for (int page : {4, 8}) {
    for (int panels : {1, 2}) {
      tma<8>({.page_tokens = page, .box = {panels, 1}});
      tma<4>({.page_tokens = page, .box = {panels, 1}, .ctas_per_sm = 3});
    }
    cp_async<128, 4>({.page_tokens = page, .ctas_per_sm = 3});
  }
  report_.section("pages of 16: less data, fewer CTAs");
  for (int64_t mib : {32, 64, 128, 256, 512}) {
    tma<8>({.bytes = mib << 20});
    tma<12>({.bytes = mib << 20, .box = {2, 1}});
    tma<4>({.bytes = mib << 20, .box = {2, 1}, .ctas_per_sm = 3});
    cp_async<256, 12>({.bytes = mib << 20});
    cp_async<128, 4>({.bytes = mib << 20, .ctas_per_sm = 3});
  }
  for (int ctas : {24, 33, 44, 66, 88, 99, 110, 121, 132}) {
    tma<12>({.num_ctas = ctas});
    tma<6, 128>({.box = {2, 1}, .num_ctas = ctas});
  }
}

}  // namespace

void run_page_read(Report& report) {
  PageRead(report).run();
}

}  // namespace pagoda::micro
