// write_kv_cache on the GPU stores what the CPU stores, bit for bit, and nothing else.
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

class RandomWrite {
 public:
  explicit RandomWrite(uint32_t seed) : random_(seed, "write on cuda") {
    dtype_ = random_.pick(kWideTypes);
    pages_dtype_ = random_.chance(0.4) ? dtype_ : random_.pick(kQuantisedTypes);
    num_tokens_ = random_.pick(std::vector<int64_t>{1, 2, 7, 33, 130});
    num_heads_ = random_.pick(std::vector<int64_t>{1, 2, 3, 8});
    head_dim_ = random_.pick(kHeadDims);
    page_size_ = random_.pick(kPageSizes);
    num_pages_ = num_tokens_ / page_size_ + 3;
    make_rows();
    const Pages pages = make_pages(&arena_, &random_, pages_dtype_,
                                   {num_pages_, page_size_, num_heads_, head_dim_});
    args_.k_pages = pages.k;
    args_.v_pages = pages.v;
    slots_ = arena_.make(DType::kInt64, {num_tokens_}, {.inner_stride = random_.between(1, 3)});
    args_.slot_mapping = slots_;
    draw_slots();
    make_scales();
    if (random_.chance(0.5)) make_rope();
    args_.checked = true;
  }

  std::string describe() const {
    const auto type = [](DType dtype) { return std::to_string(static_cast<int>(dtype)); };
    return "dtype " + type(dtype_) + " pages " + type(pages_dtype_) + " tokens " +
           std::to_string(num_tokens_) + " heads " + std::to_string(num_heads_) + " head_dim " +
           std::to_string(head_dim_) + " page_size " + std::to_string(page_size_) + " rotary_dim " +
           std::to_string(args_.rope.cos_sin.shape[1]) + " interleaved " +
           std::to_string(args_.rope.interleaved) + " q " + std::to_string(args_.rope.q.present());
  }

  void draw_slots() {
    std::vector<int64_t> slots(static_cast<size_t>(num_pages_ * page_size_));
    std::iota(slots.begin(), slots.end(), 0);
    random_.shuffle(&slots);
    for (int64_t token = 0; token < num_tokens_; ++token) {
      element_as<int64_t>(slots_, token) =
          random_.chance(0.2) ? -random_.between(1, 99) : slots[static_cast<size_t>(token)];
    }
  }

  void upload() { arena_.upload(); }
  void upload_slots() {
    const TensorView there = arena_.on_device(slots_);
    ASSERT_EQ(cudaMemcpy(there.data, slots_.data, bytes_spanned(slots_), cudaMemcpyHostToDevice),
              cudaSuccess);
  }

  void run_on_cpu() {
    const Status status = write_kv_cache(args_);
    ASSERT_TRUE(status.ok()) << status.message();
  }

  void run_on_gpu(cudaStream_t stream) {
    WriteKvCache args = args_;
    for (TensorView* view : {&args.k, &args.v, &args.k_pages, &args.v_pages, &args.slot_mapping,
                             &args.k_scale, &args.v_scale, &args.k_token_scale, &args.v_token_scale,
                             &args.rope.cos_sin, &args.rope.positions, &args.rope.q}) {
      if (view->present()) *view = arena_.on_device(*view);
    }
    const Status status = write_kv_cache(args, {.stream = stream});
    ASSERT_TRUE(status.ok()) << status.message();
  }

  void compare() { EXPECT_EQ(arena_.difference(arena_.download()), "") << describe(); }

 private:
  // q, K and V of a token side by side, as a projection leaves them.
  void make_rows() {
    const bool odd = random_.chance(0.2);
    const TensorView qkv =
        arena_.make(dtype_, {num_tokens_, (kGroup + 2) * num_heads_, head_dim_},
                    {.gap = odd ? 3 : 8 * random_.between(0, 2)}, /*skew=*/odd ? 1 : 0);
    const double magnitude = random_.pick(std::vector<double>{1.0, 1e-9, 300.0});
    const bool specials = random_.chance(0.3);
    fill(qkv, [&] { return draw_value(&random_, magnitude, specials); });
    q_ = slice(qkv, 1, 0, kGroup * num_heads_);
    args_.k = slice(qkv, 1, kGroup * num_heads_, num_heads_);
    args_.v = slice(qkv, 1, (kGroup + 1) * num_heads_, num_heads_);
  }

  void make_scales() {
    if (pages_dtype_ == dtype_) return;
    const int64_t kind = pages_dtype_ == DType::kInt8 ? 3 : random_.below(4);
    if (kind == 3) {
      const std::vector<int64_t> shape{num_pages_, page_size_, num_heads_};
      args_.k_token_scale = arena_.make(DType::kFloat32, shape, {{0, 2, 1}, 2});
      args_.v_token_scale = arena_.make(DType::kFloat32, shape);
    } else if (kind > 0) {
      for (TensorView* scale : {&args_.k_scale, &args_.v_scale}) {
        *scale = arena_.make(DType::kFloat32, {kind == 1 ? 1 : num_heads_}, {.inner_stride = 2});
        fill(*scale, [&] { return 0.01 + random_.uniform(); });
      }
    }
  }

  void make_rope() {
    constexpr int64_t kMaxPosition = 50;
    std::vector<int64_t> dims;
    for (int64_t dim :
         {int64_t{2}, int64_t{16}, head_dim_ / 2 / 16 * 16, head_dim_ / 2 * 2, head_dim_ / 2 * 2}) {
      if (dim >= 2 && dim <= head_dim_) dims.push_back(dim);
    }
    const int64_t rotary_dim = random_.pick(dims);
    Rope& rope = args_.rope;
    rope.cos_sin = arena_.make(random_.pick(kWideTypes), {kMaxPosition, rotary_dim},
                               {.gap = random_.chance(0.2) ? 3 : 8});
    fill(rope.cos_sin, [&] { return 2.0 * random_.uniform() - 1.0; });
    rope.positions = arena_.make(DType::kInt64, {num_tokens_}, {.inner_stride = 2});
    for (int64_t i = 0; i < num_tokens_; ++i) {
      element_as<int64_t>(rope.positions, i) = random_.below(kMaxPosition);
    }
    rope.interleaved = random_.chance(0.5);
    if (random_.chance(0.3)) return;
    rope.q = q_;
    if (random_.chance(0.2)) {
      rope.q = arena_.make(random_.pick(kWideTypes), {num_tokens_, 5, head_dim_}, {.gap = 8});
      fill(rope.q, [&] { return random_.normal(); });
    }
  }

  static constexpr int64_t kGroup = 2;

  Random random_;
  Arena arena_;
  DType dtype_;
  DType pages_dtype_;
  int64_t num_tokens_;
  int64_t num_heads_;
  int64_t head_dim_;
  int64_t page_size_;
  int64_t num_pages_;
  TensorView q_;
  TensorView slots_;
  WriteKvCache args_;
};

class WriteKvCacheCuda : public ::testing::TestWithParam<uint32_t> {};

TEST_P(WriteKvCacheCuda, StoresWhatTheCpuStores) {
  PAGODA_SKIP_WITHOUT_GPU();
  RandomWrite write(GetParam());
  SCOPED_TRACE(write.describe());
  write.upload();
  write.run_on_cpu();
  write.run_on_gpu(nullptr);
  write.compare();
}

INSTANTIATE_TEST_SUITE_P(Random, WriteKvCacheCuda, ::testing::Range(0u, 800u));

// A q that is rotated in place would be rotated again: those are left to the other tests.
TEST(WriteKvCacheCudaGraph, ReplaysWithOtherSlots) {
  PAGODA_SKIP_WITHOUT_GPU();
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  for (uint32_t seed = 1000; seed < 1020; ++seed) {
    RandomWrite write(seed);
    SCOPED_TRACE(write.describe());
    write.upload();
    ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
    write.run_on_gpu(stream);
    cudaGraph_t graph;
    ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    cudaGraphExec_t replay;
    ASSERT_EQ(cudaGraphInstantiate(&replay, graph, 0), cudaSuccess);
    for (int i = 0; i < 3; ++i) {
      if (i > 0) write.draw_slots();
      write.upload_slots();
      write.run_on_cpu();
      ASSERT_EQ(cudaGraphLaunch(replay, stream), cudaSuccess);
      ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
      write.compare();
    }
    EXPECT_EQ(cudaGraphExecDestroy(replay), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  }
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

TEST(WriteKvCacheCudaStreams, TwoAtOnce) {
  PAGODA_SKIP_WITHOUT_GPU();
  cudaStream_t streams[2];
  for (cudaStream_t& stream : streams) {
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  }
  for (uint32_t seed = 2000; seed < 2020; seed += 2) {
    RandomWrite writes[2] = {RandomWrite(seed), RandomWrite(seed + 1)};
    for (RandomWrite& write : writes) {
      write.upload();
      write.run_on_cpu();
    }
    for (int i = 0; i < 2; ++i) writes[i].run_on_gpu(streams[i]);
    for (RandomWrite& write : writes) write.compare();
  }
  for (cudaStream_t stream : streams) EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

}  // namespace
}  // namespace pagoda::testing
