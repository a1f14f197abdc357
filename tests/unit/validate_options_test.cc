// Mistakes in the options of a problem: scales, score, mask, split policy.
#include <limits>
#include <utility>

#include "unit/mistake.h"

namespace pagoda::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

class OptionMistakeTest : public ::testing::TestWithParam<Mistake> {};
TEST_P(OptionMistakeTest, IsNamed) {
  expect_mistake(GetParam(), ValidProblem());
}

class Fp8MistakeTest : public ::testing::TestWithParam<Mistake> {};
TEST_P(Fp8MistakeTest, IsNamed) {
  expect_mistake(GetParam(), ValidProblem(DType::kFloat8E4M3, DType::kFloat8E4M3));
}

class Int8MistakeTest : public ::testing::TestWithParam<Mistake> {};
TEST_P(Int8MistakeTest, IsNamed) {
  expect_mistake(GetParam(), ValidProblem(DType::kFloat16, DType::kInt8));
}

const Mistake kScore[] = {
    {"NegativeScale", [](Problem& p, Arena&) { p.softmax_scale = -0.5f; },
     "softmax_scale: got -0.5, wants a finite number > 0, or 0 for 1 / sqrt(head_dim)"},
    {"NanScale", [](Problem& p, Arena&) { p.softmax_scale = kNan; }, "softmax_scale: got nan"},
    {"InfiniteScale", [](Problem& p, Arena&) { p.softmax_scale = kInf; }, "softmax_scale: got inf"},
    {"NegativeSoftCap", [](Problem& p, Arena&) { p.logits_soft_cap = -30.0f; },
     "logits_soft_cap: got -30, wants a finite number > 0, or 0 for none"},
    {"NanSoftCap", [](Problem& p, Arena&) { p.logits_soft_cap = kNan; },
     "logits_soft_cap: got nan"},
    {"InfiniteSoftCap", [](Problem& p, Arena&) { p.logits_soft_cap = kInf; },
     "logits_soft_cap: got inf"},
    {"AlibiSqrtAlone", [](Problem& p, Arena&) { p.alibi_sqrt = true; },
     "alibi_sqrt: got true without alibi_slopes, wants both"},
    {"AlibiSlopesShape",
     [](Problem& p, Arena& arena) {
       p.alibi_slopes = arena.floats({1, 1});
     },
     "alibi_slopes: got shape [2], wants float32 [num_q_heads=4]"},
    {"AlibiSlopesDType",
     [](Problem& p, Arena& arena) { p.alibi_slopes = arena.tensor(DType::kFloat16, {4}); },
     "alibi_slopes: got dtype float16, wants float32 [num_q_heads=4]; convert it to float32"},
    {"SinksDType",
     [](Problem& p, Arena& arena) { p.sinks = arena.tensor(DType::kFloat8E4M3, {4}); },
     "sinks: got dtype float8_e4m3, wants float32, float16 or bfloat16 [num_q_heads=4]"},
    {"SinksShape", [](Problem& p, Arena& arena) { p.sinks = arena.tensor(DType::kFloat16, {5}); },
     "sinks: got shape [5], wants float32, float16 or bfloat16 [num_q_heads=4]"},
    {"BiasRank",
     [](Problem& p, Arena& arena) {
       p.bias = arena.floats({1, 2});
     },
     "bias: got shape [2], wants float32 [rows, columns] or [num_seqs=3, rows, columns]"},
    {"BiasSeqs",
     [](Problem& p, Arena& arena) {
       p.bias = arena.tensor(DType::kFloat32, {2, 4, 4});
     },
     "bias: got shape [2, 4, 4], wants float32 [num_seqs=3, rows, columns]"},
    {"BiasDType",
     [](Problem& p, Arena& arena) {
       p.bias = arena.tensor(DType::kFloat16, {4, 4});
     },
     "bias: got dtype float16, wants float32 [rows, columns]; convert it to float32"},
    {"BiasRows",
     [](Problem& p, Arena& arena) {
       p.bias = arena.tensor(DType::kFloat32, {4, 4});
       p.bias.shape[0] = int64_t{1} << 31;
     },
     "bias rows: got 2147483648, wants 0 <= bias rows <= 2147483647"},
    {"BiasColumns",
     [](Problem& p, Arena& arena) {
       p.bias = arena.tensor(DType::kFloat32, {3, 4, 4});
       p.bias.shape[2] = int64_t{1} << 31;
     },
     "bias columns: got 2147483648, wants 0 <= bias columns <= 2147483647"},
    {"BiasDevice",
     [](Problem& p, Arena& arena) {
       p.bias = arena.tensor(DType::kFloat32, {4, 4});
       p.bias.device = {DeviceType::kCuda, 0};
     },
     "bias: got device cuda:0, wants cpu, the device of q; move it there"},
};
INSTANTIATE_TEST_SUITE_P(Score, OptionMistakeTest, ::testing::ValuesIn(kScore), name_of);

const Mistake kMask[] = {
    {"WindowLeft", [](Problem& p, Arena&) { p.mask.window_left = -2; },
     "window_left: got -2, wants window_left >= 0, or -1 for unlimited"},
    {"WindowRight", [](Problem& p, Arena&) { p.mask.window_right = -5; },
     "window_right: got -5, wants window_right >= 0, or -1 for unlimited"},
    {"ChunkSize", [](Problem& p, Arena&) { p.mask.chunk_size = -1; },
     "chunk_size: got -1, wants chunk_size >= 0"},
    {"ChunkLookback", [](Problem& p, Arena&) { p.mask.chunk_lookback = -1; },
     "chunk_lookback: got -1, wants chunk_lookback >= 0"},
    {"LookbackAlone", [](Problem& p, Arena&) { p.mask.chunk_lookback = 1; },
     "chunk_lookback: got 1 with chunk_size=0, wants chunk_size > 0 with it"},
    {"CausalPerSeqDType",
     [](Problem& p, Arena& arena) {
       p.mask.causal_per_seq = arena.ints({1, 0, 1});
     },
     "causal_per_seq: got dtype int32, wants uint8 [num_seqs=3]; convert it to uint8"},
    {"CausalPerSeqShape",
     [](Problem& p, Arena& arena) { p.mask.causal_per_seq = arena.tensor(DType::kUInt8, {4}); },
     "causal_per_seq: got shape [4], wants uint8 [num_seqs=3]"},
    {"PrefixWindow", [](Problem& p, Arena&) { p.mask.prefix_window_left = -2; },
     "prefix_window_left: got -2, wants prefix_window_left >= 0, or -1 for unlimited"},
    {"PrefixWindowAlone", [](Problem& p, Arena&) { p.mask.prefix_window_left = 4; },
     "prefix_window_left: got 4 without prefix_lens, wants both or neither (-1)"},
    {"PrefixLensAlone",
     [](Problem& p, Arena& arena) {
       p.mask.prefix_lens = arena.ints({1, 0, 2});
     },
     "prefix_window_left: got -1 with prefix_lens, wants >= 0 with it"},
    {"PrefixLensShape",
     [](Problem& p, Arena& arena) {
       p.mask.prefix_lens = arena.ints({1, 0});
       p.mask.prefix_window_left = 4;
     },
     "prefix_lens: got shape [2], wants int32 [num_seqs=3]"},
    {"TreeWordsDType",
     [](Problem& p, Arena& arena) { p.mask.tree_words = arena.tensor(DType::kInt32, {9}); },
     "tree_words: got dtype int32, wants int64 [num_tokens=9]; convert it to int64"},
    {"TreeWordsShape",
     [](Problem& p, Arena& arena) { p.mask.tree_words = arena.tensor(DType::kInt64, {8}); },
     "tree_words: got shape [8], wants int64 [num_tokens=9]"},
    {"RangesShape",
     [](Problem& p, Arena& arena) {
       p.mask.bidirectional_ranges = arena.tensor(DType::kInt32, {3, 2, 3});
     },
     "bidirectional_ranges: got shape [3, 2, 3], wants int32 [num_seqs=3, max_ranges, first and "
     "last=2]"},
    {"RangesStride",
     [](Problem& p, Arena& arena) {
       p.mask.bidirectional_ranges = arena.tensor(DType::kInt32, {3, 2, 2});
       p.mask.bidirectional_ranges.stride[0] = 6;
     },
     "bidirectional_ranges: got strides [6, 2, 1] of shape [3, 2, 2], wants contiguous elements"},
    {"TooManyRanges",
     [](Problem& p, Arena& arena) {
       p.mask.bidirectional_ranges = arena.tensor(DType::kInt32, {3, 2, 2});
       p.mask.bidirectional_ranges.shape[1] = int64_t{1} << 31;
       p.mask.bidirectional_ranges.stride[0] = int64_t{1} << 32;
     },
     "max_ranges: got 2147483648, wants 0 <= max_ranges <= 2147483647"},
    {"ClampWithoutRanges",
     [](Problem& p, Arena&) {
       p.mask.clamp_ranges_to_window_left = true;
       p.mask.window_left = 3;
     },
     "clamp_ranges_to_window_left: got true with window_left=3 without ranges, wants "},
    {"ClampWithoutWindow",
     [](Problem& p, Arena& arena) {
       p.mask.clamp_ranges_to_window_left = true;
       p.mask.bidirectional_ranges = arena.tensor(DType::kInt32, {3, 1, 2});
     },
     "clamp_ranges_to_window_left: got true with window_left=-1, wants bidirectional_ranges and "},
};
INSTANTIATE_TEST_SUITE_P(Mask, OptionMistakeTest, ::testing::ValuesIn(kMask), name_of);

const Mistake kSplit[] = {
    {"Policy", [](Problem& p, Arena&) { p.split_policy = static_cast<SplitPolicy>(9); },
     "split_policy: got 9, wants 0 (balanced) or 1 (fixed)"},
    {"NotAMultiple", [](Problem& p, Arena&) { p.fixed_split_keys = 100; },
     "fixed_split_keys: got 100, wants a multiple of 64, or 0 for 1024"},
    {"Negative", [](Problem& p, Arena&) { p.fixed_split_keys = -64; },
     "fixed_split_keys: got -64, wants a multiple of 64, or 0 for 1024"},
};
INSTANTIATE_TEST_SUITE_P(Split, OptionMistakeTest, ::testing::ValuesIn(kSplit), name_of);

const Mistake kScalesOfPlainKv[] = {
    {"KScale", [](Problem& p, Arena& arena) { p.kv.k_scale = arena.floats({1}); },
     "k_scale: got one with bfloat16 pages, wants it with fp8 or int8 pages only; leave it out"},
    {"VTokenScale",
     [](Problem& p, Arena& arena) {
       p.kv.v_token_scale = arena.tensor(DType::kFloat32, {8, 4, 2});
     },
     "v_token_scale: got one with bfloat16 pages, wants it with fp8 or int8 pages only"},
    {"QScale", [](Problem& p, Arena& arena) { p.q_scale = arena.floats({1}); },
     "q_scale: got one with q of dtype bfloat16, wants it with float8_e4m3 only; leave it out"},
    {"OutScale", [](Problem& p, Arena& arena) { p.out_scale = arena.floats({1}); },
     "out_scale: got one with out of dtype bfloat16, wants it with float8_e4m3 only"},
};
INSTANTIATE_TEST_SUITE_P(Scales, OptionMistakeTest, ::testing::ValuesIn(kScalesOfPlainKv), name_of);

const Mistake kFp8[] = {
    {"PlainPages", [](Problem& p, Arena&) { p.kv.k_pages.dtype = DType::kBFloat16; },
     "k_pages: got dtype bfloat16, wants float8_e4m3, float8_e5m2 or int8 [num_pages, "},
    {"Int8Pages",
     [](Problem& p, Arena&) {
       p.kv.k_pages.dtype = p.kv.v_pages.dtype = DType::kInt8;
       p.kv.k_scale = p.kv.v_scale = {};
     },
     "k_token_scale: got none, wants float32 [num_pages=8, page_size=4, num_kv_heads=2] with int8 "
     "pages"},
    {"Float16Out", [](Problem& p, Arena&) { p.out.dtype = DType::kFloat16; },
     "out: got dtype float16, wants bfloat16 or float8_e4m3 [num_tokens=9, "},
    {"KScaleShape",
     [](Problem& p, Arena& arena) {
       p.kv.k_scale = arena.floats({1, 1, 1});
     },
     "k_scale: got shape [3], wants float32 of one element, [num_kv_heads=2] or [num_seqs=3, "
     "num_kv_heads=2]"},
    {"KScaleDType",
     [](Problem& p, Arena& arena) { p.kv.k_scale = arena.tensor(DType::kFloat16, {1}); },
     "k_scale: got dtype float16, wants float32 [num_seqs, num_kv_heads]; convert it to float32"},
    {"KScaleNegative",
     [](Problem& p, Arena& arena) {
       p.kv.k_scale = arena.floats({1, -0.5f});
     },
     "k_scale: got -0.5 at [0, 1], wants a finite number >= 0"},
    {"VScaleNan",
     [](Problem& p, Arena& arena) {
       p.kv.v_scale = reshaped(arena.floats({1, 1, 1, 1, kNan, 1}), {3, 2});
     },
     "v_scale: got nan at [2, 0], wants a finite number >= 0"},
    {"VScaleInfinite", [](Problem& p, Arena& arena) { p.kv.v_scale = arena.floats({kInf}); },
     "v_scale: got inf at [0, 0], wants a finite number >= 0"},
    {"QScaleShape",
     [](Problem& p, Arena& arena) {
       p.q_scale = arena.floats({1, 1, 1, 1});
     },
     "q_scale: got shape [4], wants float32 of one element, [num_kv_heads=2] or [num_seqs=3, "},
    {"QScaleNegative", [](Problem& p, Arena& arena) { p.q_scale = arena.floats({-1}); },
     "q_scale: got -1 at [0, 0], wants a finite number >= 0"},
    {"OutScaleShape",
     [](Problem& p, Arena& arena) {
       p.out.dtype = DType::kFloat8E4M3;
       p.out_scale = arena.floats({1, 1});
     },
     "out_scale: got shape [2], wants float32 of one element"},
    {"OutScaleZero",
     [](Problem& p, Arena& arena) {
       p.out.dtype = DType::kFloat8E4M3;
       p.out_scale = arena.floats({0});
     },
     "out_scale: got 0 at [0, 0], wants a finite number > 0"},
    {"ScaleBesideTokenScales",
     [](Problem& p, Arena& arena) {
       p.kv.k_token_scale = p.kv.v_token_scale = arena.tensor(DType::kFloat32, {8, 4, 2});
       p.kv.v_scale = arena.floats({1});
     },
     "v_scale: got one beside k_token_scale or v_token_scale, wants one kind of scale"},
    {"OneTokenScale",
     [](Problem& p, Arena& arena) {
       p.kv.k_token_scale = arena.tensor(DType::kFloat32, {8, 4, 2});
     },
     "v_token_scale: got none, wants float32 [num_pages=8, page_size=4, num_kv_heads=2] beside the "
     "other token scale"},
};
INSTANTIATE_TEST_SUITE_P(Fp8, Fp8MistakeTest, ::testing::ValuesIn(kFp8), name_of);

const Mistake kInt8[] = {
    {"NoKTokenScale", [](Problem& p, Arena&) { p.kv.k_token_scale = {}; },
     "k_token_scale: got none, wants float32 [num_pages=8, page_size=4, num_kv_heads=2]"},
    {"NoTokenScales", [](Problem& p, Arena&) { p.kv.k_token_scale = p.kv.v_token_scale = {}; },
     "k_token_scale: got none, wants float32 [num_pages=8, page_size=4, num_kv_heads=2] with int8"},
    {"TokenScaleShape", [](Problem& p, Arena&) { p.kv.v_token_scale.shape[2] = 1; },
     "v_token_scale: got shape [8, 4, 1], wants float32 [num_pages=8, page_size=4, "
     "num_kv_heads=2]"},
    {"TokenScaleDType", [](Problem& p, Arena&) { p.kv.k_token_scale.dtype = DType::kBFloat16; },
     "k_token_scale: got dtype bfloat16, wants float32 [num_pages=8, "},
    {"ScaleToo", [](Problem& p, Arena& arena) { p.kv.k_scale = arena.floats({1}); },
     "k_scale: got one beside k_token_scale or v_token_scale, wants one kind of scale"},
};
INSTANTIATE_TEST_SUITE_P(Int8, Int8MistakeTest, ::testing::ValuesIn(kInt8), name_of);

}  // namespace
}  // namespace pagoda::testing
