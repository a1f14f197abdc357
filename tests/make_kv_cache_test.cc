// make_kv_cache: layout, alignment, contents, and attention over what it makes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "pagoda/kv_cache.h"

namespace pagoda::testing {
namespace {

constexpr MakeKvCache kSmall{.num_pages = 5, .page_size = 3, .num_kv_heads = 2, .head_dim = 24};

HostKvCache made(const MakeKvCache& args) {
  HostKvCache cache;
  const Status status = make_kv_cache(args, &cache);
  EXPECT_TRUE(status.ok()) << status.message();
  return cache;
}

std::vector<int64_t> shape_of(const TensorView& view) {
  return {view.shape, view.shape + view.rank};
}
std::vector<int64_t> strides_of(const TensorView& view) {
  return {view.stride, view.stride + view.rank};
}
uintptr_t address(const void* data) {
  return reinterpret_cast<uintptr_t>(data);
}
size_t bytes_of(const TensorView& view) {
  return view.present() ? static_cast<size_t>(view.num_elements()) * size_of(view.dtype) : 0;
}

TEST(MakeKvCache, DefaultsAreHeadMajorPagesOf64) {
  const HostKvCache cache = made({.num_pages = 7, .num_kv_heads = 4, .head_dim = 128});
  for (const TensorView& pages : {cache.views.k_pages, cache.views.v_pages}) {
    EXPECT_EQ(pages.dtype, DType::kBFloat16);
    EXPECT_EQ(shape_of(pages), (std::vector<int64_t>{7, 64, 4, 128}));
    EXPECT_EQ(strides_of(pages), (std::vector<int64_t>{64 * 4 * 128, 128, 64 * 128, 1}));
  }
  EXPECT_FALSE(cache.views.k_token_scale.present() || cache.views.v_token_scale.present());
  EXPECT_FALSE(cache.views.block_table.present());
}

TEST(MakeKvCache, TokenMajorOnRequest) {
  MakeKvCache args = kSmall;
  args.layout = KvLayout::kNhd;
  EXPECT_EQ(strides_of(made(args).views.k_pages),
            (std::vector<int64_t>{3 * 2 * 24, 2 * 24, 24, 1}));
}

TEST(MakeKvCache, QuantisedPagesHaveTokenScales) {
  MakeKvCache args = kSmall;
  for (const auto& [dtype, asked] : {std::pair{DType::kInt8, false},
                                     {DType::kInt8, true},
                                     {DType::kFloat8E4M3, true},
                                     {DType::kFloat8E5M2, false}}) {
    args.dtype = dtype;
    args.token_scales = asked;
    const HostKvCache cache = made(args);
    const bool has_them = asked || dtype == DType::kInt8;
    for (const TensorView& scale : {cache.views.k_token_scale, cache.views.v_token_scale}) {
      ASSERT_EQ(scale.present(), has_them);
      if (!has_them) continue;
      EXPECT_EQ(scale.dtype, DType::kFloat32);
      EXPECT_EQ(shape_of(scale), (std::vector<int64_t>{5, 3, 2}));
      EXPECT_EQ(strides_of(scale), (std::vector<int64_t>{3 * 2, 1, 3}));
    }
  }
}

// Every byte is written through one tensor and belongs to no other.
TEST(MakeKvCache, TensorsAreAlignedZeroAndApart) {
  MakeKvCache args = kSmall;
  args.dtype = DType::kInt8;
  args.num_pages = 20'000;  // some huge pages
  const HostKvCache cache = made(args);
  const auto begin = address(cache.memory.get());
  const size_t bytes = cache.memory.get_deleter().bytes;
  EXPECT_EQ(begin % (2 << 20), 0u);
  EXPECT_EQ(bytes % (2 << 20), 0u);
  const auto* memory = static_cast<const unsigned char*>(cache.memory.get());
  EXPECT_TRUE(std::all_of(memory, memory + bytes, [](unsigned char byte) { return byte == 0; }));
  uintptr_t end = begin;
  for (const TensorView& view : {cache.views.k_pages, cache.views.v_pages,
                                 cache.views.k_token_scale, cache.views.v_token_scale}) {
    EXPECT_EQ(address(view.data) % 4096, 0u);
    EXPECT_GE(address(view.data), end);
    end = address(view.data) + bytes_of(view);
    std::memset(view.data, 0xff, bytes_of(view));
  }
  EXPECT_LE(end, begin + bytes);
}

TEST(MakeKvCache, MemoryGoesBackWithItsOwner) {
  const auto is_mapped = [](const void* data) {
    // A system call that reads the byte fails where there is none.
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    const bool could_read = write(ends[1], data, 1) == 1;
    close(ends[0]);
    close(ends[1]);
    return could_read;
  };
  HostKvCache kept;
  const void* first = nullptr;
  {
    HostKvCache cache = made(kSmall);
    first = cache.memory.get();
    kept = std::move(cache);
  }
  EXPECT_TRUE(is_mapped(first));
  kept = HostKvCache();
  EXPECT_FALSE(is_mapped(first));
}

TEST(MakeKvCache, AFailureLeavesTheCacheAlone) {
  HostKvCache cache = made(kSmall);
  const void* before = cache.memory.get();
  MakeKvCache args = kSmall;
  args.num_pages = 0;
  EXPECT_EQ(make_kv_cache(args, &cache).code(), StatusCode::kInvalidArgument);
  // More than any machine's address space has left, less than the arguments' own limit.
  args = {.num_pages = 2'000'000'000, .page_size = 64, .num_kv_heads = 64, .head_dim = 256};
  const Status status = make_kv_cache(args, &cache);
  EXPECT_EQ(status.message(),
            "num_pages: got 2000000000, which take 8388608006291456 bytes, wants no more than the "
            "system grants; ask for fewer pages");
  EXPECT_EQ(cache.memory.get(), before);
  EXPECT_EQ(make_kv_cache(kSmall, nullptr).message(), "cache: got null, wants a pointer");
}

// Written from f32 by write_kv_cache, read back by gather_kv_cache.
TEST(MakeKvCache, HoldsWhatIsWritten) {
  constexpr int64_t kTokens = 13;
  for (const DType dtype :
       {DType::kFloat32, DType::kFloat8E4M3, DType::kFloat8E5M2, DType::kInt8}) {
    for (const KvLayout layout : {KvLayout::kHnd, KvLayout::kNhd}) {
      MakeKvCache args = kSmall;
      args.dtype = dtype;
      args.layout = layout;
      const HostKvCache cache = made(args);
      std::vector<float> rows(kTokens * 2 * 24), k_rows(rows.size()), v_rows(rows.size());
      for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i % 3) - 1.0f;
      std::vector<int64_t> slots;
      for (int64_t i = 0; i < kTokens; ++i) slots.push_back(i);
      const int32_t table[] = {0, 1, 2, 3, 4};
      const int32_t starts[] = {0, kTokens};
      const auto view = [](std::vector<float>& data) {
        return TensorView::contiguous(data.data(), DType::kFloat32, {kTokens, 2, 24});
      };
      WriteKvCache write;
      write.k = write.v = view(rows);
      write.k_pages = cache.views.k_pages;
      write.v_pages = cache.views.v_pages;
      write.slot_mapping = TensorView::contiguous(slots.data(), DType::kInt64, {kTokens});
      write.k_token_scale = cache.views.k_token_scale;
      write.v_token_scale = cache.views.v_token_scale;
      ASSERT_TRUE(write_kv_cache(write).ok());
      GatherKvCache gather;
      gather.kv = cache.views;
      gather.kv.block_table = TensorView::contiguous(table, DType::kInt32, {1, 5});
      gather.cu_seqlens_k = TensorView::contiguous(starts, DType::kInt32, {2});
      gather.k_out = view(k_rows);
      gather.v_out = view(v_rows);
      ASSERT_TRUE(gather_kv_cache(gather).ok());
      for (size_t i = 0; i < rows.size(); ++i) {
        EXPECT_NEAR(k_rows[i], rows[i], 1e-6f);
        EXPECT_NEAR(v_rows[i], rows[i], 1e-6f);
      }
    }
  }
}

}  // namespace
}  // namespace pagoda::testing
