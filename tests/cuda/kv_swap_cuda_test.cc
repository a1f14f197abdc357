// swap_pages where it chooses between a kernel and the copy engines, and in a graph.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "core/arith.h"
#include "cuda/arena.h"
#include "pagoda/kv_cache.h"

namespace pagoda::testing {
namespace {

using Pairs = std::vector<int64_t>;  // source, destination, source, destination, ...

// As many pages in host memory, at the start of one of its own pages, as on the GPU.
class TwoCaches {
 public:
  TwoCaches(int64_t num_pages, int64_t page_bytes)
      : shape_{num_pages, page_bytes},
        host_(
            static_cast<uint8_t*>(std::aligned_alloc(kHostPage, round_up(num_bytes(), kHostPage)))),
        device_(num_bytes()) {
    fill(0);
  }
  ~TwoCaches() {
    if (is_pinned_) cudaHostUnregister(host_.get());
  }
  TwoCaches(const TwoCaches&) = delete;

  void pin() {
    check(cudaHostRegister(host_.get(), num_bytes(), cudaHostRegisterDefault), "pin");
    is_pinned_ = true;
  }

  // Other bytes in every page of both.
  void fill(int32_t seed) {
    std::vector<uint8_t> bytes(num_bytes());
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = byte_of(seed, i);
      host_.get()[i] = byte_of(seed + 1, i);
    }
    check(cudaMemcpy(device_.data(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice), "fill");
    check(cudaDeviceSynchronize(), "fill");
    seed_ = seed;
  }

  void swap(const Pairs& pairs, bool to_host, cudaStream_t stream) const {
    CopyPages args;
    args.source = to_host ? on_device() : on_host();
    args.destination = to_host ? on_host() : on_device();
    args.page_pairs = TensorView::contiguous(pairs.data(), DType::kInt64,
                                             {static_cast<int64_t>(pairs.size()) / 2, 2});
    const Status status = swap_pages(args, {.stream = stream});
    ASSERT_TRUE(status.ok()) << status.message();
  }

  // That one swap with these pairs has been done since fill().
  void expect(const Pairs& pairs, bool to_host) const {
    check(cudaDeviceSynchronize(), "swap");
    const int32_t from = to_host ? seed_ : seed_ + 1;
    const int32_t to = to_host ? seed_ + 1 : seed_;
    std::vector<uint8_t> wanted(num_bytes());
    for (size_t i = 0; i < wanted.size(); ++i) wanted[i] = byte_of(to, i);
    const auto page_bytes = static_cast<size_t>(shape_.page_bytes);
    for (size_t pair = 0; pair < pairs.size(); pair += 2) {
      const size_t source = static_cast<size_t>(pairs[pair]) * page_bytes;
      const size_t destination = static_cast<size_t>(pairs[pair + 1]) * page_bytes;
      for (size_t i = 0; i < page_bytes; ++i) wanted[destination + i] = byte_of(from, source + i);
    }
    std::vector<uint8_t> got(num_bytes());
    const void* destination = to_host ? host_.get() : device_.data();
    check(cudaMemcpy(got.data(), destination, got.size(), cudaMemcpyDefault), "fetch");
    const auto at = std::mismatch(got.begin(), got.end(), wanted.begin()).first - got.begin();
    EXPECT_EQ(at, static_cast<int64_t>(num_bytes())) << "in page " << at / shape_.page_bytes;
  }

 private:
  static constexpr size_t kHostPage = 4096;

  struct Shape {
    int64_t num_pages;
    int64_t page_bytes;
  };
  struct Free {
    void operator()(uint8_t* bytes) const { std::free(bytes); }
  };

  static uint8_t byte_of(int32_t seed, size_t at) {
    return static_cast<uint8_t>((at * 2654435761u >> 13) + at + 101 * static_cast<size_t>(seed));
  }
  size_t num_bytes() const { return static_cast<size_t>(shape_.num_pages * shape_.page_bytes); }
  TensorView view(void* data, Device device) const {
    return TensorView::contiguous(data, DType::kUInt8, {shape_.num_pages, 1, 1, shape_.page_bytes},
                                  device);
  }
  TensorView on_host() const { return view(host_.get(), {}); }
  TensorView on_device() const { return view(device_.data(), {DeviceType::kCuda, 0}); }

  Shape shape_;
  std::unique_ptr<uint8_t, Free> host_;
  DeviceBuffer device_;
  bool is_pinned_ = false;
  int32_t seed_ = 0;
};

// All pages of each run, one after the other.
Pairs pairs_of_runs(int64_t num_runs, int64_t run_pages) {
  Pairs pairs;
  for (int64_t run = 0; run < num_runs; ++run) {
    for (int64_t i = 0; i < run_pages; ++i) {
      pairs.insert(pairs.end(), {run * run_pages + i, (num_runs - 1 - run) * run_pages + i});
    }
  }
  return pairs;
}

// Runs that the copy engines take, and shorter ones that they do not.
TEST(SwapPagesCuda, RunsOfPages) {
  PAGODA_SKIP_WITHOUT_GPU();
  constexpr int64_t kPageBytes = 32 << 10;
  for (const int64_t run_pages : {1, 2, 16, 32, 128}) {
    SCOPED_TRACE("runs of " + std::to_string(run_pages));
    const int64_t num_runs = 128 / run_pages;
    TwoCaches caches(num_runs * run_pages, kPageBytes);
    caches.pin();
    const Pairs pairs = pairs_of_runs(num_runs, run_pages);
    for (const bool to_host : {true, false}) {
      caches.fill(to_host ? 1 : 3);
      caches.swap(pairs, to_host, nullptr);
      caches.expect(pairs, to_host);
    }
  }
}

// The pairs are those of the call, whatever becomes of their memory; the bytes are those of the
// replay.
TEST(SwapPagesCuda, IsReplayedWithTheCallsPairs) {
  PAGODA_SKIP_WITHOUT_GPU();
  constexpr int64_t kNumPages = 1201;
  constexpr int64_t kPageBytes = 1040;
  TwoCaches caches(kNumPages, kPageBytes);
  caches.pin();
  Pairs pairs;
  for (int64_t i = 0; i < kNumPages; ++i) pairs.insert(pairs.end(), {i * 7 % kNumPages, i});
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  for (const bool to_host : {true, false}) {
    ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
    Pairs overwritten = pairs;
    caches.swap(overwritten, to_host, stream);
    std::fill(overwritten.begin(), overwritten.end(), 0);
    cudaGraph_t graph;
    ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    cudaGraphExec_t replay;
    ASSERT_EQ(cudaGraphInstantiate(&replay, graph, 0), cudaSuccess);
    for (const int32_t seed : {10, 20}) {
      caches.fill(seed);
      ASSERT_EQ(cudaGraphLaunch(replay, stream), cudaSuccess);
      caches.expect(pairs, to_host);
    }
    EXPECT_EQ(cudaGraphExecDestroy(replay), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  }
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

}  // namespace
}  // namespace pagoda::testing
