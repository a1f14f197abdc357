// Mistakes in the arguments of make_kv_cache and write_kv_cache.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/checks.h"
#include "core/validate.h"
#include "unit/args_mistake.h"
#include "unit/valid_problem.h"

namespace pagoda::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr Device kGpu{DeviceType::kCuda, 0};
constexpr DType kBF16 = DType::kBFloat16;
constexpr DType kF32 = DType::kFloat32;

// 5 tokens of 2 heads, head_dim 16, into 8 pages of 4 tokens; 3 query heads to rotate.
WriteKvCache valid_write(Arena& arena, DType pages = kBF16) {
  WriteKvCache args;
  args.k = arena.tensor(kBF16, {5, 2, 16});
  args.v = arena.tensor(kBF16, {5, 2, 16});
  args.k_pages = arena.tensor(pages, {8, 4, 2, 16});
  args.v_pages = arena.tensor(pages, {8, 4, 2, 16});
  args.slot_mapping = arena.vector<int64_t>(DType::kInt64, {0, 31, -1, 7, -9});
  args.rope.cos_sin = arena.tensor(kF32, {100, 8});
  args.rope.positions = arena.vector<int64_t>(DType::kInt64, {0, 1, 2, 98, 99});
  args.rope.q = arena.tensor(kBF16, {5, 3, 16});
  args.checked = true;
  return args;
}
WriteKvCache valid_fp8_write(Arena& arena) {
  return valid_write(arena, DType::kFloat8E4M3);
}

TEST(ValidateMakeKvCache, NamesEachMistake) {
  using Args = MakeKvCache;
  expect_args_mistakes<Args>(
      {
          {[](Args& a, Arena&) { a.num_pages = 0; },
           "num_pages: got 0, wants 1 <= num_pages <= 2147483647"},
          {[](Args& a, Arena&) { a.num_pages = int64_t{1} << 31; }, "num_pages: got 2147483648, "},
          {[](Args& a, Arena&) { a.page_size = 0; }, "page_size: got 0, wants 1 <= page_size <= "},
          {[](Args& a, Arena&) { a.num_kv_heads = -1; }, "num_kv_heads: got -1, wants 1 <= "},
          {[](Args& a, Arena&) { a.head_dim = 20; },
           "head_dim: got 20, wants a multiple of 8, at most 256"},
          {[](Args& a, Arena&) { a.head_dim = 264; }, "head_dim: got 264, wants a multiple of 8, "},
          {[](Args& a, Arena&) { a.dtype = DType::kInt32; },
           "dtype: got int32, wants float32, float16, bfloat16, float8_e4m3, float8_e5m2 or int8"},
          {[](Args& a, Arena&) { a.dtype = static_cast<DType>(99); }, "dtype: got 99, wants "},
          {[](Args& a, Arena&) { a.layout = static_cast<KvLayout>(2); },
           "layout: got 2, wants 0 (head-major) or 1 (token-major)"},
          {[](Args& a, Arena&) { a.token_scales = true; },
           "token_scales: got true with bfloat16 pages, wants it with fp8 or int8 pages only"},
          {[](Args& a, Arena&) { a.num_pages = a.page_size = a.num_kv_heads = 2147483647; },
           "num_pages: got 2147483647 of page_size=2147483647, num_kv_heads=2147483647, "
           "head_dim=16, wants fewer bytes than an address space has; ask for fewer pages"},
      },
      [](Arena&) { return Args{.num_pages = 4, .num_kv_heads = 2, .head_dim = 16}; },
      validate_make_kv_cache);
}

TEST(ValidateWriteKvCache, NamesEachMistake) {
  using Args = WriteKvCache;
  expect_args_mistakes<Args>(
      {
          {[](Args& a, Arena&) { a.k.data = nullptr; },
           "k: got null data, wants float32, float16 "},
          {[](Args& a, Arena&) { a.k.dtype = DType::kInt8; }, "k: got dtype int8, wants float32, "},
          {[](Args& a, Arena&) { a.k.rank = 2; }, "k: got shape [5, 2], wants "},
          {[](Args& a, Arena&) { a.k.stride[2] = 2; }, "k: got strides [32, 16, 2] of shape "},
          {[](Args& a, Arena&) { a.k.device = kGpu; },
           "k: got device cuda:0, wants cpu, the device of k_pages; move it there"},
          {[](Args& a, Arena&) { a.v.dtype = DType::kFloat16; },
           "v: got dtype float16, wants bfloat16 [num_tokens=5, num_kv_heads=2, head_dim=16]"},
          {[](Args& a, Arena&) { a.v.shape[0] = 4; }, "v: got shape [4, 2, 16], wants bfloat16 ["},
          {[](Args& a, Arena&) { a.k_pages.dtype = kF32; },
           "k_pages: got dtype float32, wants bfloat16, float8_e4m3, float8_e5m2 or int8 "
           "[num_pages, page_size, num_kv_heads=2, head_dim=16]"},
          {[](Args& a, Arena&) { a.k_pages.shape[2] = 1; }, "k_pages: got shape [8, 4, 1, 16], "},
          {[](Args& a, Arena&) { a.k_pages.stride[0] = 64; },
           "k_pages: got strides [64, 32, 16, 1] of shape [8, 4, 2, 16], wants elements that do "
           "not overlap, since it is written"},
          {[](Args& a, Arena&) { a.v_pages.shape[1] = 3; }, "v_pages: got shape [8, 3, 2, 16], "},
          {[](Args& a, Arena&) { a.v_pages.data = nullptr; }, "v_pages: got null data, wants "},
          {[](Args& a, Arena&) {
             a.k.shape[0] = int64_t{1} << 31;
             a.k.stride[0] = 0;
           },
           "num_tokens: got 2147483648, wants 0 <= num_tokens <= 2147483647"},
          {[](Args& a, Arena&) { a.k_pages.shape[1] = a.v_pages.shape[1] = 0; },
           "page_size: got 0, wants 1 <= page_size <= 2147483647"},
          {[](Args& a, Arena& arena) {
             a.k = a.v = arena.tensor(kBF16, {5, 2, 0});
             a.k_pages = a.v_pages = arena.tensor(kBF16, {8, 4, 2, 0});
           },
           "head_dim: got 0, wants 1 <= head_dim <= 2147483647"},
          {[](Args& a, Arena&) { a.slot_mapping = {}; },
           "slot_mapping: got none, wants int64 [num_tokens=5]"},
          {[](Args& a, Arena&) { a.slot_mapping.dtype = DType::kInt32; },
           "slot_mapping: got dtype int32, wants int64 [num_tokens=5]; convert it to int64"},
          {[](Args& a, Arena&) { a.slot_mapping.shape[0] = 6; },
           "slot_mapping: got shape [6], wants int64 [num_tokens=5]"},
          {[](Args& a, Arena& arena) { a.k_scale = arena.floats({1}); },
           "k_scale: got one with bfloat16 pages, wants it with fp8 or int8 pages only"},
          {[](Args& a, Arena&) { a.rope.cos_sin.dtype = DType::kInt8; },
           "rope.cos_sin: got dtype int8, wants float32, float16 or bfloat16 [max_position, "},
          {[](Args& a, Arena&) { a.rope.cos_sin.shape[1] = 7; },
           "rope.cos_sin: got rotary_dim=7, wants an even number from 2 to head_dim=16"},
          {[](Args& a, Arena& arena) {
             a.rope.cos_sin = arena.tensor(kF32, {100, 18});
           },
           "rope.cos_sin: got rotary_dim=18, wants an even number from 2 to head_dim=16"},
          {[](Args& a, Arena&) { a.rope.positions.data = nullptr; },
           "rope.positions: got null data, wants int64 [num_tokens=5]"},
          {[](Args& a, Arena&) { a.rope.positions.dtype = DType::kInt32; },
           "rope.positions: got dtype int32, wants int64 [num_tokens=5]; convert it to int64"},
          {[](Args& a, Arena&) { a.rope.positions = {}; },
           "rope.positions: got none, wants int64 [num_tokens=5]"},
          {[](Args& a, Arena&) { a.rope.cos_sin = {}; },
           "rope.cos_sin: got none with rope.positions, wants float32, float16 or bfloat16 "
           "[max_position, rotary_dim] with it; leave out the rest of rope for no rotation"},
          {[](Args& a, Arena&) { a.rope.cos_sin = a.rope.positions = {}; },
           "rope.cos_sin: got none with rope.q, wants float32, "},
          {[](Args& a, Arena&) {
             a.rope = {};
             a.rope.interleaved = true;
           },
           "rope.cos_sin: got none with rope.interleaved, wants float32, "},
          {[](Args& a, Arena&) { a.rope.q.shape[2] = 8; },
           "rope.q: got shape [5, 3, 8], wants float32, float16 or bfloat16 [num_tokens=5, "
           "num_q_heads, head_dim=16]"},
          {[](Args& a, Arena&) { a.rope.q.stride[0] = 16; },
           "rope.q: got strides [16, 16, 1] of shape [5, 3, 16], wants elements that do not "},
          {[](Args& a, Arena&) { static_cast<int64_t*>(a.slot_mapping.data)[1] = 32; },
           "slot_mapping: out of range at (token 1, value 32), wants slot < num_pages * "
           "page_size=32, or negative to skip the token",
           StatusCode::kInvalidContents},
          {[](Args& a, Arena&) { static_cast<int64_t*>(a.rope.positions.data)[4] = 100; },
           "rope.positions: out of range at (token 4, value 100), wants 0 <= position < "
           "max_position=100",
           StatusCode::kInvalidContents},
          {[](Args& a, Arena&) { static_cast<int64_t*>(a.rope.positions.data)[0] = -1; },
           "rope.positions: out of range at (token 0, value -1), wants 0 <= position < ",
           StatusCode::kInvalidContents},
      },
      [](Arena& arena) { return valid_write(arena); }, validate_write_kv_cache);
}

TEST(ValidateWriteKvCache, NamesWhatLiesWhereItWrites) {
  using Args = WriteKvCache;
  expect_args_mistakes<Args>(
      {
          {[](Args& a, Arena&) { a.v_pages.data = a.k_pages.data; }, "v_pages: got data 0x"},
          {[](Args& a, Arena&) { a.v_pages.data = a.v.data; }, "v_pages: got data 0x"},
          {[](Args& a, Arena&) { a.k_pages.data = a.v.data; }, "k_pages: got data 0x"},
          {[](Args& a, Arena&) { a.rope.q.data = a.k.data; }, "rope.q: got data 0x"},
          {[](Args& a, Arena&) { a.v_token_scale.data = a.k_token_scale.data; },
           "v_token_scale: got data 0x"},
          {[](Args& a, Arena&) { a.k_token_scale.data = a.k.data; }, "k_token_scale: got data 0x"},
      },
      [](Arena& arena) {
        Args args = valid_fp8_write(arena);
        args.k_token_scale = arena.tensor(kF32, {8, 4, 2});
        args.v_token_scale = arena.tensor(kF32, {8, 4, 2});
        return args;
      },
      validate_write_kv_cache);
  Arena arena;
  Args args = valid_write(arena);
  args.v_pages.data = args.k_pages.data;
  EXPECT_EQ(validate_write_kv_cache(args).message(),
            text("v_pages: got data ", args.k_pages.data,
                 ", which is that of k_pages, wants memory of its own, since it is written"));
}

// K and V of a token side by side, in pages and among what is written.
TEST(ValidateWriteKvCache, InterleavedPagesAreLegal) {
  Arena arena;
  WriteKvCache args = valid_write(arena);
  const TensorView both = arena.tensor(kBF16, {8, 4, 4, 16});
  args.k_pages = args.v_pages = both;
  args.k_pages.shape[2] = args.v_pages.shape[2] = 2;
  args.v_pages.data = static_cast<char*>(both.data) + 2 * 16 * 2;
  EXPECT_TRUE(validate_write_kv_cache(args).ok());
  args.v = args.k;  // both are read only
  EXPECT_TRUE(validate_write_kv_cache(args).ok());
}

TEST(ValidateWriteKvCache, NamesMistakesInScales) {
  using Args = WriteKvCache;
  expect_args_mistakes<Args>(
      {
          {[](Args& a, Arena& arena) { a.k_scale = arena.floats({0}); },
           "k_scale: got 0 at [0, 0], wants a finite number > 0"},
          {[](Args& a, Arena& arena) {
             a.v_scale = arena.floats({1, kNan});
           },
           "v_scale: got nan at [0, 1], wants a finite number > 0"},
          {[](Args& a, Arena& arena) {
             a.v_scale = arena.tensor(kF32, {5, 2});
           },
           "v_scale: got shape [5, 2], wants float32 of one element or [num_kv_heads=2]"},
          {[](Args& a, Arena& arena) {
             a.k_token_scale = arena.tensor(kF32, {8, 4, 2});
           },
           "v_token_scale: got none, wants float32 [num_pages=8, page_size=4, num_kv_heads=2] "},
          {[](Args& a, Arena& arena) {
             a.k_token_scale = a.v_token_scale = arena.tensor(kF32, {8, 4, 2});
             a.v_token_scale.stride[0] = 0;
           },
           "v_token_scale: got strides [0, 2, 1] of shape [8, 4, 2], wants elements that do not "},
          {[](Args& a, Arena&) { a.k_pages.dtype = a.v_pages.dtype = DType::kInt8; },
           "k_token_scale: got none, wants float32 [num_pages=8, page_size=4, num_kv_heads=2] with "
           "int8 pages"},
      },
      valid_fp8_write, validate_write_kv_cache);
}

TEST(ValidateWriteKvCache, ContentsAreReadInCheckedModeOnly) {
  Arena arena;
  WriteKvCache args = valid_write(arena);
  static_cast<int64_t*>(args.slot_mapping.data)[0] = 1000;
  args.checked = false;
  EXPECT_TRUE(validate_write_kv_cache(args).ok());
}

TEST(ValidateWriteKvCache, PositionsOfSkippedTokensMatterToQOnly) {
  Arena arena;
  WriteKvCache args = valid_write(arena);
  static_cast<int64_t*>(args.rope.positions.data)[2] = -77;
  EXPECT_EQ(validate_write_kv_cache(args).code(), StatusCode::kInvalidContents);
  args.rope.q = {};
  EXPECT_TRUE(validate_write_kv_cache(args).ok());
}

TEST(ValidateWriteKvCache, FusedInputsAndNoTokensAreLegal) {
  Arena arena;
  WriteKvCache args = valid_write(arena);
  const TensorView qkv = arena.tensor(kBF16, {5, 7, 16});
  args.rope.q = args.k = args.v = qkv;
  args.rope.q.shape[1] = 3;
  args.k.shape[1] = args.v.shape[1] = 2;
  args.k.data = static_cast<char*>(qkv.data) + 3 * 16 * 2;
  args.v.data = static_cast<char*>(qkv.data) + 5 * 16 * 2;
  EXPECT_TRUE(validate_write_kv_cache(args).ok());
  args.rope = {};
  args.k = args.v = TensorView::contiguous(nullptr, kBF16, {0, 2, 16});
  args.slot_mapping = TensorView::contiguous(nullptr, DType::kInt64, {0});
  EXPECT_TRUE(validate_write_kv_cache(args).ok());
}

}  // namespace
}  // namespace pagoda::testing
