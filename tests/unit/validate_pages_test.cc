// Mistakes in the arguments of gather_kv_cache, copy_pages and swap_pages.
#include <gtest/gtest.h>

#include <limits>

#include "core/validate.h"
#include "unit/args_mistake.h"
#include "unit/valid_problem.h"

namespace pagoda::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr Device kGpu{DeviceType::kCuda, 0};
constexpr DType kBF16 = DType::kBFloat16;
constexpr DType kF32 = DType::kFloat32;
constexpr StatusCode kContents = StatusCode::kInvalidContents;

int32_t* ints_of(const TensorView& view) {
  return static_cast<int32_t*>(view.data);
}
int64_t* longs_of(const TensorView& view) {
  return static_cast<int64_t*>(view.data);
}

// 2 sequences of 6 and 5 tokens from token 2 and 0 on, out of 8 pages of 4 tokens.
GatherKvCache valid_gather(Arena& arena, DType pages, DType out) {
  GatherKvCache args;
  args.kv.k_pages = arena.tensor(pages, {8, 4, 2, 16});
  args.kv.v_pages = arena.tensor(pages, {8, 4, 2, 16});
  args.kv.block_table = reshaped(arena.ints({3, 7, 5, 0}), {2, 2});
  args.cu_seqlens_k = arena.ints({0, 6, 11});
  args.seq_starts = arena.ints({2, 0});
  args.k_out = arena.tensor(out, {12, 2, 16});
  args.v_out = arena.tensor(out, {12, 2, 16});
  args.checked = true;
  return args;
}
GatherKvCache valid_plain_gather(Arena& arena) {
  return valid_gather(arena, kBF16, kBF16);
}
GatherKvCache valid_int8_gather(Arena& arena) {
  GatherKvCache args = valid_gather(arena, DType::kInt8, kF32);
  args.kv.k_token_scale = arena.tensor(kF32, {8, 4, 2});
  args.kv.v_token_scale = arena.tensor(kF32, {8, 4, 2});
  return args;
}

TEST(ValidateGatherKvCache, NamesEachMistake) {
  using Args = GatherKvCache;
  expect_args_mistakes<Args>(
      {
          {[](Args& a, Arena&) { a.kv.k_pages.dtype = DType::kInt32; },
           "k_pages: got dtype int32, wants float32, float16, bfloat16, float8_e4m3, float8_e5m2 "
           "or int8 [num_pages, page_size, num_kv_heads, head_dim]"},
          {[](Args& a, Arena&) { a.kv.v_pages.shape[3] = 8; }, "v_pages: got shape [8, 4, 2, 8], "},
          {[](Args& a, Arena&) { a.k_out.dtype = DType::kInt8; },
           "k_out: got dtype int8, wants float32, float16 or bfloat16 [num_rows, num_kv_heads=2, "
           "head_dim=16]"},
          {[](Args& a, Arena&) { a.k_out.shape[1] = 3; }, "k_out: got shape [12, 3, 16], wants "},
          {[](Args& a, Arena&) { a.k_out.stride[0] = 16; },
           "k_out: got strides [16, 16, 1] of shape [12, 2, 16], wants elements that do not "},
          {[](Args& a, Arena&) { a.v_out.dtype = kF32; },
           "v_out: got dtype float32, wants bfloat16 [num_rows=12, num_kv_heads=2, head_dim=16]"},
          {[](Args& a, Arena&) { a.v_out.shape[0] = 11; },
           "v_out: got shape [11, 2, 16], wants bfloat16 [num_rows=12, "},
          {[](Args& a, Arena&) { a.v_out.device = kGpu; },
           "v_out: got device cuda:0, wants cpu, the device of k_pages; move it there"},
          {[](Args& a, Arena&) { a.cu_seqlens_k.dtype = DType::kInt64; },
           "cu_seqlens_k: got dtype int64, wants int32 [num_seqs + 1]; convert it to int32"},
          {[](Args& a, Arena&) { a.cu_seqlens_k.shape[0] = 0; },
           "num_seqs: got -1, wants 0 <= num_seqs <= 2147483646"},
          {[](Args& a, Arena&) { a.cu_seqlens_k = {}; },
           "cu_seqlens_k: got none, wants int32 [num_seqs + 1]"},
          {[](Args& a, Arena&) { a.v_out.data = a.k_out.data; }, "v_out: got data 0x"},
          {[](Args& a, Arena&) { a.v_out.data = a.kv.k_pages.data; }, "v_out: got data 0x"},
          {[](Args& a, Arena&) { a.k_out.data = a.kv.v_pages.data; }, "k_out: got data 0x"},
          {[](Args& a, Arena&) { a.seq_starts.shape[0] = 3; },
           "seq_starts: got shape [3], wants int32 [num_seqs=2]"},
          {[](Args& a, Arena&) { a.kv.block_table = {}; },
           "block_table: got neither it nor page_indptr and page_indices, wants int32 [num_seqs=2"},
          {[](Args& a, Arena& arena) { a.kv.v_scale = arena.floats({1}); },
           "v_scale: got one with bfloat16 pages, wants it with fp8 or int8 pages only"},
          {[](Args& a, Arena&) { ints_of(a.cu_seqlens_k)[1] = 12; },
           "cu_seqlens_k: out of order at (entry 2, value 11), wants prefix sums that start at 0, "
           "never fall (the entry before is 12) and end at num_rows=12 or before",
           kContents},
          {[](Args& a, Arena&) { ints_of(a.seq_starts)[1] = -1; },
           "seq_starts: out of range at (sequence 1, value -1), wants 0 <= value", kContents},
          {[](Args& a, Arena&) { ints_of(a.seq_starts)[1] = 4; },
           "seq_starts + length: length out of range at (sequence 1, value 9), wants at most 8",
           kContents},
          {[](Args& a, Arena&) {
             a.seq_starts = {};
             ints_of(a.cu_seqlens_k)[1] = 1;
           },
           "cu_seqlens_k: length out of range at (sequence 1, value 10), wants at most 8",
           kContents},
          {[](Args& a, Arena&) { ints_of(a.kv.block_table)[3] = 8; },
           "block_table: page id out of range at (sequence 1, column 1, value 8), wants 0 <= id < "
           "num_pages=8",
           kContents},
      },
      valid_plain_gather, validate_gather_kv_cache);
}

TEST(ValidateGatherKvCache, NamesMistakesInScales) {
  using Args = GatherKvCache;
  expect_args_mistakes<Args>(
      {
          {[](Args& a, Arena&) { a.kv.k_token_scale = a.kv.v_token_scale = {}; },
           "k_token_scale: got none, wants float32 [num_pages=8, page_size=4, num_kv_heads=2] with "
           "int8 pages"},
          {[](Args& a, Arena&) {
             static_cast<float*>(a.kv.k_token_scale.data)[(3 * 4 + 2) * 2] = kNan;
           },
           "k_token_scale: out of range at (sequence 0, token 2, kv head 0, value nan), wants ",
           kContents},
      },
      valid_int8_gather, validate_gather_kv_cache);
}

TEST(ValidateGatherKvCache, ReadsOnlyTheTokensThatItGathers) {
  Arena arena;
  GatherKvCache args = valid_int8_gather(arena);
  static_cast<float*>(args.kv.k_token_scale.data)[(3 * 4 + 1) * 2] = kNan;  // token 1
  EXPECT_TRUE(validate_gather_kv_cache(args).ok());
  ints_of(args.seq_starts)[0] = 4;
  ints_of(args.cu_seqlens_k)[1] = 4;
  ints_of(args.cu_seqlens_k)[2] = 4;
  ints_of(args.kv.block_table)[0] = -1;  // tokens 0 to 3
  ints_of(args.kv.block_table)[2] = -1;  // sequence 1 has no rows
  EXPECT_TRUE(validate_gather_kv_cache(args).ok());
}

TEST(ValidateGatherKvCache, QuantisedCopiesNeedNoScales) {
  Arena arena;
  EXPECT_TRUE(validate_gather_kv_cache(valid_gather(arena, DType::kInt8, DType::kInt8)).ok());
}

TEST(ValidateGatherKvCache, ContentsAreReadInCheckedModeOnly) {
  Arena arena;
  GatherKvCache args = valid_plain_gather(arena);
  ints_of(args.kv.block_table)[0] = -1;
  args.checked = false;
  EXPECT_TRUE(validate_gather_kv_cache(args).ok());
}

CopyPages valid_copy(Arena& arena) {
  CopyPages args;
  args.source = arena.tensor(kBF16, {8, 4, 2, 16});
  args.destination = arena.tensor(kBF16, {6, 4, 2, 16});
  args.page_pairs = arena.tensor(DType::kInt64, {3, 2});
  const int64_t pairs[] = {7, 0, 7, 5, 2, 1};
  std::copy(std::begin(pairs), std::end(pairs), longs_of(args.page_pairs));
  args.checked = true;
  return args;
}

TEST(ValidateCopyPages, NamesEachMistake) {
  using Args = CopyPages;
  expect_args_mistakes<Args>(
      {
          {[](Args& a, Arena&) { a.source.data = nullptr; }, "source: got null data, wants "},
          {[](Args& a, Arena&) { a.source.dtype = static_cast<DType>(-3); },
           "source: got dtype -3, wants float32, "},
          {[](Args& a, Arena&) { a.source.rank = 3; }, "source: got shape [8, 4, 2], wants "},
          {[](Args& a, Arena&) { a.destination.dtype = DType::kFloat16; },
           "destination: got dtype float16, wants bfloat16 [num_pages, page_size=4, "
           "num_kv_heads=2, head_dim=16]; convert it to bfloat16"},
          {[](Args& a, Arena&) { a.destination.shape[1] = 8; },
           "destination: got shape [6, 8, 2, 16], wants bfloat16 [num_pages, page_size=4, "},
          {[](Args& a, Arena&) { a.destination.stride[0] = 0; },
           "destination: got strides [0, 32, 16, 1] of shape [6, 4, 2, 16], wants elements that "},
          {[](Args& a, Arena&) { a.destination.device = kGpu; },
           "destination: got device cuda:0, wants cpu, the device of source; move it there"},
          {[](Args& a, Arena&) { a.page_pairs.dtype = DType::kInt32; },
           "page_pairs: got dtype int32, wants int64 [num_pairs, source and destination=2]; "},
          {[](Args& a, Arena&) { a.page_pairs.shape[1] = 3; }, "page_pairs: got shape [3, 3], "},
          {[](Args& a, Arena&) { a.page_pairs.stride[0] = 3; },
           "page_pairs: got strides [3, 1] of shape [3, 2], wants contiguous elements; copy it"},
          {[](Args& a, Arena&) { longs_of(a.page_pairs)[2] = 8; },
           "page_pairs: page id out of range at (pair 1, column 0, value 8), wants 0 <= id < "
           "source's num_pages=8",
           kContents},
          {[](Args& a, Arena&) { longs_of(a.page_pairs)[5] = 6; },
           "page_pairs: page id out of range at (pair 2, column 1, value 6), wants 0 <= id < "
           "destination's num_pages=6",
           kContents},
          {[](Args& a, Arena&) { longs_of(a.page_pairs)[0] = -1; },
           "page_pairs: page id out of range at (pair 0, column 0, value -1), wants ", kContents},
          {[](Args& a, Arena&) { longs_of(a.page_pairs)[5] = 0; },
           "page_pairs: got destination page 0 in pair 0 and in pair 2, wants each destination "
           "once; leave one of them out",
           kContents},
          {[](Args& a, Arena&) {
             a.destination = a.source;
             longs_of(a.page_pairs)[4] = 5;
           },
           "page_pairs: got page 5 as the destination of pair 1 and the source of pair 2, wants no "
           "page of one tensor both read and written; copy in two calls",
           kContents},
          {[](Args& a, Arena&) {
             a.destination = a.source;
             longs_of(a.page_pairs)[4] = 1;
           },
           "page_pairs: got page 1 as the destination of pair 2 and the source of pair 2, wants ",
           kContents},
          {[](Args& a, Arena&) { a.page_pairs = {}; },
           "page_pairs: got none, wants int64 [num_pairs, source and destination=2]"},
      },
      valid_copy, [](const Args& args) { return validate_copy_pages(args, false); });
}

TEST(ValidateCopyPages, ReadPagesMayRepeatAndOneTensorMayBeBoth) {
  Arena arena;
  CopyPages args = valid_copy(arena);  // page 7 is read twice
  args.destination = args.source;
  EXPECT_TRUE(validate_copy_pages(args, false).ok());
}

TEST(ValidateSwapPages, DevicesMayDifferButPairsAreOnTheHost) {
  Arena arena;
  CopyPages args = valid_copy(arena);
  args.destination.device = kGpu;
  EXPECT_TRUE(validate_copy_pages(args, true).ok());
  args.page_pairs.device = kGpu;
  EXPECT_EQ(validate_copy_pages(args, true).message(),
            "page_pairs: got device cuda:0, wants cpu, the device of the host; move it there");
}

TEST(ValidateCopyPages, ContentsAreReadInCheckedModeOnly) {
  Arena arena;
  CopyPages args = valid_copy(arena);
  longs_of(args.page_pairs)[0] = 1000;
  args.checked = false;
  EXPECT_TRUE(validate_copy_pages(args, false).ok());
}

}  // namespace
}  // namespace pagoda::testing
