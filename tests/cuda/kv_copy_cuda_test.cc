// copy_pages and swap_pages on the GPU: between all layouts, and in every direction.
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

// Bytes of all kinds: tensors of whole numbers, so that none counts as NaN.
void fill_bytes(const TensorView& view, Random* random) {
  auto* bytes = static_cast<uint8_t*>(view.data);
  for (size_t i = 0; i < bytes_spanned(view); ++i)
    bytes[i] = static_cast<uint8_t>(random->below(256));
}

// What cases are drawn from.
struct Extents {
  int64_t num_pages;
  int64_t min_pairs;
  std::vector<int64_t> page_sizes;
  std::vector<int64_t> head_dims;
};

const Extents kFewPages{9, 0, kPageSizes, kHeadDims};
// More than a launch holds the pairs of, twice over.
const Extents kManyPages{1500, 1100, {1, 2, 3}, {1, 7, 8, 24}};

class RandomCopy {
 public:
  explicit RandomCopy(uint32_t seed, const Extents& extents = kFewPages)
      : random_(seed, "copy on cuda") {
    const DType dtype = random_.pick(std::vector<DType>{DType::kInt8, DType::kUInt8, DType::kInt32,
                                                        DType::kInt64, DType::kBFloat16});
    const std::vector<int64_t> page{random_.pick(extents.page_sizes),
                                    random_.pick(std::vector<int64_t>{1, 2, 3, 8}),
                                    random_.pick(extents.head_dims)};
    const int64_t num_pages = extents.num_pages;
    const bool is_dense = random_.chance(0.5);
    const auto make = [&](int64_t first_extent) {
      const TensorView view = arena_.make(dtype, {first_extent, page[0], page[1], page[2]},
                                          is_dense ? Placement{} : random_.pick(kPagePlacements),
                                          random_.chance(0.2) ? 1 : 0);
      fill_bytes(view, &random_);
      return view;
    };
    args_.source = make(num_pages);
    args_.destination = make(num_pages + 3);
    const int64_t num_pairs = random_.between(extents.min_pairs, num_pages);
    std::vector<int64_t> destinations(num_pages + 3);
    std::iota(destinations.begin(), destinations.end(), 0);
    if (random_.chance(0.5)) random_.shuffle(&destinations);
    const bool in_order = random_.chance(0.5);
    args_.page_pairs = arena_.make(DType::kInt64, {num_pairs, 2});
    for (int64_t i = 0; i < num_pairs; ++i) {
      element_as<int64_t>(args_.page_pairs, i, 0) = in_order ? i : random_.below(num_pages);
      element_as<int64_t>(args_.page_pairs, i, 1) = destinations[static_cast<size_t>(i)];
    }
    args_.checked = true;
  }

  std::string describe() const {
    const int64_t* shape = args_.source.shape;
    return "dtype " + std::to_string(static_cast<int>(args_.source.dtype)) + " page_size " +
           std::to_string(shape[1]) + " heads " + std::to_string(shape[2]) + " head_dim " +
           std::to_string(shape[3]) + " pairs " + std::to_string(args_.page_pairs.shape[0]);
  }

  void copy_within_device() {
    arena_.upload();
    CopyPages args = args_;
    for (TensorView* view : {&args.source, &args.destination, &args.page_pairs}) {
      *view = arena_.on_device(*view);
    }
    run(copy_pages, args);
    compare(arena_.download());
  }

  void swap_within_device() {
    arena_.upload();
    CopyPages args = args_;
    args.source = arena_.on_device(args_.source);
    args.destination = arena_.on_device(args_.destination);
    run(swap_pages, args);
    compare(arena_.download());
  }

  // Host memory is a pinned copy of the arena, or a plain one.
  void swap_to_device(bool is_pinned) {
    arena_.upload();
    HostCopy host(arena_.download(), is_pinned);
    CopyPages args = args_;
    args.source = arena_.in(&host.bytes, args_.source);
    args.destination = arena_.on_device(args_.destination);
    run(swap_pages, args);
    compare(arena_.download());
  }

  void swap_to_host(bool is_pinned) {
    arena_.upload();
    HostCopy host(arena_.download(), is_pinned);
    CopyPages args = args_;
    args.source = arena_.on_device(args_.source);
    args.destination = arena_.in(&host.bytes, args_.destination);
    run(swap_pages, args);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    compare(host.bytes);
  }

 private:
  struct HostCopy {
    std::vector<uint8_t> bytes;
    bool is_pinned;

    HostCopy(std::vector<uint8_t> from, bool pinned) : bytes(std::move(from)), is_pinned(pinned) {
      if (is_pinned) {
        EXPECT_EQ(cudaHostRegister(bytes.data(), bytes.size(), cudaHostRegisterDefault),
                  cudaSuccess);
      }
    }
    ~HostCopy() {
      if (is_pinned) cudaHostUnregister(bytes.data());
    }
    HostCopy(const HostCopy&) = delete;
  };

  void run(Status (*copy)(const CopyPages&, const Execution&), const CopyPages& args) {
    const Status status = copy(args, {});
    ASSERT_TRUE(status.ok()) << status.message();
  }

  void compare(const std::vector<uint8_t>& bytes) {
    const Status status = pagoda::copy_pages(args_);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(arena_.difference(bytes), "");
  }

  Random random_;
  Arena arena_;
  CopyPages args_;
};

void swap(RandomCopy* copy, uint32_t seed) {
  if (seed % 3 == 0) copy->swap_within_device();
  if (seed % 3 == 1) copy->swap_to_device(/*is_pinned=*/seed % 2 == 0);
  if (seed % 3 == 2) copy->swap_to_host(/*is_pinned=*/seed % 2 == 0);
}

class CopyPagesCuda : public ::testing::TestWithParam<uint32_t> {};

TEST_P(CopyPagesCuda, WithinTheDevice) {
  PAGODA_SKIP_WITHOUT_GPU();
  RandomCopy copy(GetParam());
  SCOPED_TRACE(copy.describe());
  copy.copy_within_device();
}

TEST_P(CopyPagesCuda, SwapsInEveryDirection) {
  PAGODA_SKIP_WITHOUT_GPU();
  const uint32_t seed = GetParam();
  RandomCopy copy(1000 + seed);
  SCOPED_TRACE(copy.describe());
  swap(&copy, seed);
}

INSTANTIATE_TEST_SUITE_P(Random, CopyPagesCuda, ::testing::Range(0u, 240u));

class SwapManyPagesCuda : public ::testing::TestWithParam<uint32_t> {};

TEST_P(SwapManyPagesCuda, InEveryDirection) {
  PAGODA_SKIP_WITHOUT_GPU();
  const uint32_t seed = GetParam();
  RandomCopy copy(2000 + seed, kManyPages);
  SCOPED_TRACE(copy.describe());
  swap(&copy, seed);
}

INSTANTIATE_TEST_SUITE_P(Random, SwapManyPagesCuda, ::testing::Range(0u, 60u));

}  // namespace
}  // namespace pagoda::testing
