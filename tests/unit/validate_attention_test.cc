// Mistakes in the tensors of a problem: sizes, types, strides, addresses, devices.
#include "unit/mistake.h"

namespace pagoda::testing {
namespace {

class MistakeTest : public ::testing::TestWithParam<Mistake> {};
TEST_P(MistakeTest, IsNamed) {
  expect_mistake(GetParam(), ValidProblem());
}

class CsrMistakeTest : public ::testing::TestWithParam<Mistake> {};
TEST_P(CsrMistakeTest, IsNamed) {
  ValidProblem valid;
  valid.use_csr();
  expect_mistake(GetParam(), std::move(valid));
}

constexpr int64_t kTooMany = int64_t{1} << 31;

const Mistake kSizes[] = {
    {"QNull", [](Problem& p, Arena&) { p.q.data = nullptr; },
     "q: got null data, wants float32, float16, bfloat16 or float8_e4m3 [num_tokens, "},
    {"QDType", [](Problem& p, Arena&) { p.q.dtype = DType::kInt8; }, "q: got dtype int8, wants "},
    {"QNoDType", [](Problem& p, Arena&) { p.q.dtype = static_cast<DType>(42); },
     "q: got dtype 42, wants "},
    {"QRank", [](Problem& p, Arena&) { p.q.rank = 2; }, "q: got shape [9, 4], wants "},
    {"QNoRank", [](Problem& p, Arena&) { p.q.rank = 99; }, "q: got shape of rank 99, wants "},
    {"QNegativeExtent", [](Problem& p, Arena&) { p.q.shape[0] = -9; },
     "q: got shape [-9, 4, 16], wants "},
    {"QLastStride", [](Problem& p, Arena&) { p.q.stride[2] = 2; },
     "q: got strides [64, 16, 2] of shape [9, 4, 16], wants 1 for the last; make its rows "},
    {"QNegativeStride", [](Problem& p, Arena&) { p.q.stride[0] = -64; },
     "q: got strides [-64, 16, 1] of shape [9, 4, 16], wants none of them negative"},
    {"QHugeStride", [](Problem& p, Arena&) { p.q.stride[0] = int64_t{1} << 60; },
     "q: got strides [1152921504606846976, 16, 1] of shape [9, 4, 16], wants offsets that fit "},
    {"QMisaligned", [](Problem& p, Arena&) { p.q.data = static_cast<char*>(p.q.data) + 1; },
     "q: got data 0x", "wants an address aligned to 2 bytes, the size of bfloat16"},
    {"QDeviceType", [](Problem& p, Arena&) { p.q.device.type = static_cast<DeviceType>(7); },
     "q: got device type 7, wants 0 (cpu) or 1 (cuda)"},
    {"QDeviceIndex", [](Problem& p, Arena&) { p.q.device.index = -1; },
     "q: got device index -1, wants 0 or more"},
    {"TooManyTokens",
     [](Problem& p, Arena&) {
       p.q.shape[0] = kTooMany;
       p.q.stride[0] = 0;
     },
     "num_tokens: got 2147483648, wants 0 <= num_tokens <= 2147483647"},
    {"TooManyRows",
     [](Problem& p, Arena&) {
       p.q.shape[0] = kTooMany / 2;
       p.q.stride[0] = 0;
     },
     "num_tokens: got 1073741824 with num_q_heads / num_kv_heads=2, wants a product <= 2147483647"},
    {"KPagesNull", [](Problem& p, Arena&) { p.kv.k_pages.data = nullptr; },
     "k_pages: got null data, wants bfloat16, float8_e4m3, float8_e5m2 or int8 [num_pages, "},
    {"KPagesDType", [](Problem& p, Arena&) { p.kv.k_pages.dtype = DType::kFloat16; },
     "k_pages: got dtype float16, wants bfloat16, float8_e4m3, float8_e5m2 or int8 [num_pages, "
     "page_size, num_kv_heads, head_dim=16]"},
    {"KPagesHeadDim", [](Problem& p, Arena&) { p.kv.k_pages.shape[3] = 8; },
     "k_pages: got shape [8, 4, 2, 8], wants "},
    {"KPagesLastStride", [](Problem& p, Arena&) { p.kv.k_pages.stride[3] = 0; },
     "k_pages: got strides [128, 32, 16, 0] of shape [8, 4, 2, 16], wants 1 for the last"},
    {"VPagesNull", [](Problem& p, Arena&) { p.kv.v_pages.data = nullptr; },
     "v_pages: got null data, wants bfloat16 [num_pages=8, page_size=4, num_kv_heads=2, "
     "head_dim=16]"},
    {"VPagesDType", [](Problem& p, Arena&) { p.kv.v_pages.dtype = DType::kFloat8E4M3; },
     "v_pages: got dtype float8_e4m3, wants bfloat16 [num_pages=8, "},
    {"VPagesShape", [](Problem& p, Arena&) { p.kv.v_pages.shape[0] = 7; },
     "v_pages: got shape [7, 4, 2, 16], wants bfloat16 [num_pages=8, "},
    {"VPagesNegativeStride", [](Problem& p, Arena&) { p.kv.v_pages.stride[1] = -32; },
     "v_pages: got strides [128, -32, 16, 1]"},
    {"PageSize", [](Problem& p, Arena&) { p.kv.k_pages.shape[1] = p.kv.v_pages.shape[1] = 0; },
     "page_size: got 0, wants 1 <= page_size <= 2147483647"},
    {"TooManyPages",
     [](Problem& p, Arena&) {
       p.kv.k_pages.shape[0] = kTooMany;
       p.kv.k_pages.stride[0] = 0;
     },
     "num_pages: got 2147483648, wants 0 <= num_pages <= 2147483647"},
    {"NoKvHeads", [](Problem& p, Arena&) { p.kv.k_pages.shape[2] = p.kv.v_pages.shape[2] = 0; },
     "num_kv_heads: got 0, wants 1 <= num_kv_heads <= 65536"},
    {"NoQHeads", [](Problem& p, Arena&) { p.q.shape[1] = 0; }, "num_q_heads: got 0, wants 1 <= "},
    {"HeadRatio", [](Problem& p, Arena&) { p.q.shape[1] = 3; },
     "num_q_heads: got 3, wants a multiple of num_kv_heads=2"},
    {"HeadDimMultiple",
     [](Problem& p, Arena&) { p.q.shape[2] = p.kv.k_pages.shape[3] = p.kv.v_pages.shape[3] = 12; },
     "head_dim: got 12, wants a multiple of 8, at most 256"},
    {"HeadDimTooLarge",
     [](Problem& p, Arena& arena) {
       p.q = arena.tensor(DType::kBFloat16, {9, 4, 264});
       p.kv.k_pages = p.kv.v_pages = arena.tensor(DType::kBFloat16, {8, 4, 2, 264});
     },
     "head_dim: got 264, wants a multiple of 8, at most 256"},
    {"SequsedKNull", [](Problem& p, Arena&) { p.seqused_k.data = nullptr; },
     "seqused_k: got null data, wants int32 [num_seqs]"},
    {"QNone", [](Problem& p, Arena&) { p.q = {}; },
     "q: got none, wants float32, float16, bfloat16 or float8_e4m3 [num_tokens, num_q_heads, "},
    {"KPagesNone", [](Problem& p, Arena&) { p.kv.k_pages = {}; },
     "k_pages: got none, wants bfloat16, float8_e4m3, float8_e5m2 or int8 [num_pages, "},
    {"SequsedKNone", [](Problem& p, Arena&) { p.seqused_k = {}; },
     "seqused_k: got none, wants int32 [num_seqs]"},
    {"CuSeqlensQNone", [](Problem& p, Arena&) { p.cu_seqlens_q = {}; },
     "cu_seqlens_q: got none, wants int32 [num_seqs + 1=4]"},
    {"TooManySeqs", [](Problem& p, Arena&) { p.seqused_k.shape[0] = kTooMany - 1; },
     "num_seqs: got 2147483647, wants 0 <= num_seqs <= 2147483646"},
    {"SequsedKDType", [](Problem& p, Arena&) { p.seqused_k.dtype = DType::kInt64; },
     "seqused_k: got dtype int64, wants int32 [num_seqs]; convert it to int32"},
    {"SequsedKStride", [](Problem& p, Arena&) { p.seqused_k.stride[0] = 2; },
     "seqused_k: got strides [2] of shape [3], wants contiguous elements; copy it"},
    {"CuSeqlensQNull", [](Problem& p, Arena&) { p.cu_seqlens_q.data = nullptr; },
     "cu_seqlens_q: got null data, wants int32 [num_seqs + 1=4]"},
    {"CuSeqlensQDType", [](Problem& p, Arena&) { p.cu_seqlens_q.dtype = DType::kInt64; },
     "cu_seqlens_q: got dtype int64, wants int32 [num_seqs + 1=4]; convert it to int32"},
    {"CuSeqlensQShape", [](Problem& p, Arena&) { p.cu_seqlens_q.shape[0] = 3; },
     "cu_seqlens_q: got shape [3], wants int32 [num_seqs + 1=4]"},
    {"CuSeqlensQStride", [](Problem& p, Arena&) { p.cu_seqlens_q.stride[0] = 0; },
     "cu_seqlens_q: got strides [0] of shape [4], wants contiguous elements"},
    {"NegativeMaxSeqlenQ", [](Problem& p, Arena&) { p.max_seqlen_q = -1; },
     "max_seqlen_q: got -1, wants max_seqlen_q >= 0"},
    {"NegativeMaxSeqlenK", [](Problem& p, Arena&) { p.max_seqlen_k = -1; },
     "max_seqlen_k: got -1, wants max_seqlen_k >= 0"},
};
INSTANTIATE_TEST_SUITE_P(Sizes, MistakeTest, ::testing::ValuesIn(kSizes), name_of);

const Mistake kTables[] = {
    {"NoTable", [](Problem& p, Arena&) { p.kv.block_table = {}; },
     "block_table: got neither it nor page_indptr and page_indices, wants int32 [num_seqs=3, "},
    {"BlockTableDType", [](Problem& p, Arena&) { p.kv.block_table.dtype = DType::kInt64; },
     "block_table: got dtype int64, wants int32 [num_seqs=3, max_pages]; convert it to int32"},
    {"BlockTableRows", [](Problem& p, Arena&) { p.kv.block_table.shape[0] = 2; },
     "block_table: got shape [2, 3], wants int32 [num_seqs=3, max_pages]"},
    {"BlockTableRank", [](Problem& p, Arena&) { p.kv.block_table.rank = 1; },
     "block_table: got shape [3], wants int32 [num_seqs=3, max_pages]"},
    {"BlockTableStride", [](Problem& p, Arena&) { p.kv.block_table.stride[1] = 3; },
     "block_table: got strides [3, 3] of shape [3, 3], wants 1 for the last"},
    {"BlockTableMisaligned",
     [](Problem& p, Arena&) {
       p.kv.block_table.data = static_cast<char*>(p.kv.block_table.data) + 2;
     },
     "block_table: got data 0x", "wants an address aligned to 4 bytes, the size of int32"},
    {"TooManyTablePages",
     [](Problem& p, Arena&) { p.kv.block_table.shape[1] = p.kv.block_table.stride[0] = kTooMany; },
     "max_pages: got 2147483648, wants 0 <= max_pages <= 2147483647"},
    {"BothTables",
     [](Problem& p, Arena& arena) {
       p.kv.page_indptr = arena.ints({0, 3, 5, 8});
     },
     "block_table: got one beside page_indptr or page_indices, wants only one kind of table"},
};
INSTANTIATE_TEST_SUITE_P(Tables, MistakeTest, ::testing::ValuesIn(kTables), name_of);

const Mistake kCsr[] = {
    {"IndptrNull", [](Problem& p, Arena&) { p.kv.page_indptr.data = nullptr; },
     "page_indptr: got null data, wants int32 [num_seqs + 1=4]"},
    {"IndptrDType", [](Problem& p, Arena&) { p.kv.page_indptr.dtype = DType::kInt64; },
     "page_indptr: got dtype int64, wants int32 [num_seqs + 1=4]; convert it to int32"},
    {"IndptrShape", [](Problem& p, Arena&) { p.kv.page_indptr.shape[0] = 3; },
     "page_indptr: got shape [3], wants int32 [num_seqs + 1=4]"},
    {"IndptrStride", [](Problem& p, Arena&) { p.kv.page_indptr.stride[0] = 2; },
     "page_indptr: got strides [2] of shape [4], wants contiguous elements; copy it"},
    {"IndicesNull", [](Problem& p, Arena&) { p.kv.page_indices.data = nullptr; },
     "page_indices: got null data, wants int32 [num_page_entries]"},
    {"IndicesDType", [](Problem& p, Arena&) { p.kv.page_indices.dtype = DType::kInt64; },
     "page_indices: got dtype int64, wants int32 [num_page_entries]; convert it to int32"},
    {"IndptrNone", [](Problem& p, Arena&) { p.kv.page_indptr = {}; },
     "page_indptr: got none, wants int32 [num_seqs + 1=4]"},
    {"IndicesNone", [](Problem& p, Arena&) { p.kv.page_indices = {}; },
     "page_indices: got none, wants int32 [num_page_entries]"},
    {"TooManyEntries", [](Problem& p, Arena&) { p.kv.page_indices.shape[0] = kTooMany; },
     "num_page_entries: got 2147483648, wants 0 <= num_page_entries <= 2147483647"},
    {"IndicesRank", [](Problem& p, Arena&) { p.kv.page_indices.rank = 2; },
     "page_indices: got shape [8, 0], wants int32 [num_page_entries]"},
    {"IndicesStride", [](Problem& p, Arena&) { p.kv.page_indices.stride[0] = 2; },
     "page_indices: got strides [2] of shape [8], wants contiguous elements; copy it"},
};
INSTANTIATE_TEST_SUITE_P(Csr, CsrMistakeTest, ::testing::ValuesIn(kCsr), name_of);

const Mistake kOutputs[] = {
    {"OutNull", [](Problem& p, Arena&) { p.out.data = nullptr; },
     "out: got null data, wants bfloat16 or float8_e4m3 [num_tokens=9, num_q_heads=4, "
     "head_dim=16]"},
    {"OutDType", [](Problem& p, Arena&) { p.out.dtype = DType::kFloat16; },
     "out: got dtype float16, wants bfloat16 or float8_e4m3 [num_tokens=9, "},
    {"OutShape", [](Problem& p, Arena&) { p.out.shape[0] = 8; },
     "out: got shape [8, 4, 16], wants bfloat16 or float8_e4m3 [num_tokens=9, "},
    {"OutLastStride", [](Problem& p, Arena&) { p.out.stride[2] = 4; },
     "out: got strides [64, 16, 4] of shape [9, 4, 16], wants 1 for the last"},
    {"OutHeadsOverlap", [](Problem& p, Arena&) { p.out.stride[1] = 15; },
     "out: got strides [64, 15, 1] of shape [9, 4, 16], wants elements that do not overlap"},
    {"OutTokensOverlap", [](Problem& p, Arena&) { p.out.stride[0] = 0; },
     "out: got strides [0, 16, 1] of shape [9, 4, 16], wants elements that do not overlap"},
    {"OutNone", [](Problem& p, Arena&) { p.out = {}; },
     "out: got none, wants bfloat16 or float8_e4m3 [num_tokens=9, num_q_heads=4, head_dim=16]"},
    {"OutIsQ", [](Problem& p, Arena&) { p.out.data = p.q.data; }, "out: got data 0x",
     ", which is that of q, wants memory of its own, since it is written"},
    {"OutIsKPages", [](Problem& p, Arena&) { p.out.data = p.kv.k_pages.data; }, "out: got data 0x",
     ", which is that of k_pages, "},
    {"OutIsVPages", [](Problem& p, Arena&) { p.out.data = p.kv.v_pages.data; }, "out: got data 0x",
     ", which is that of v_pages, "},
    {"LseIsOut", [](Problem& p, Arena&) { p.lse.data = p.out.data; }, "lse: got data 0x",
     ", which is that of out, "},
    {"LseIsQ", [](Problem& p, Arena&) { p.lse.data = p.q.data; }, "lse: got data 0x",
     ", which is that of q, "},
    {"LseDType", [](Problem& p, Arena&) { p.lse.dtype = DType::kBFloat16; },
     "lse: got dtype bfloat16, wants float32 [num_q_heads=4, num_tokens=9]; convert it to float32"},
    {"LseShape", [](Problem& p, Arena&) { p.lse_layout = LseLayout::kTokensHeads; },
     "lse: got shape [4, 9], wants float32 [num_tokens=9, num_q_heads=4]"},
    {"LseOverlap", [](Problem& p, Arena&) { p.lse.stride[0] = 8; },
     "lse: got strides [8, 1] of shape [4, 9], wants elements that do not overlap"},
    {"LseLayout", [](Problem& p, Arena&) { p.lse_layout = static_cast<LseLayout>(2); },
     "lse_layout: got 2, wants 0 (heads, tokens) or 1 (tokens, heads)"},
};
INSTANTIATE_TEST_SUITE_P(Outputs, MistakeTest, ::testing::ValuesIn(kOutputs), name_of);

constexpr Device kGpu{DeviceType::kCuda, 1};

const Mistake kDevices[] = {
    {"KPages", [](Problem& p, Arena&) { p.kv.k_pages.device = kGpu; },
     "k_pages: got device cuda:1, wants cpu, the device of q; move it there"},
    {"VPages", [](Problem& p, Arena&) { p.kv.v_pages.device = kGpu; },
     "v_pages: got device cuda:1"},
    {"Out", [](Problem& p, Arena&) { p.out.device = kGpu; }, "out: got device cuda:1"},
    {"Lse", [](Problem& p, Arena&) { p.lse.device = kGpu; }, "lse: got device cuda:1"},
    {"BlockTable", [](Problem& p, Arena&) { p.kv.block_table.device = kGpu; },
     "block_table: got device cuda:1"},
    {"CuSeqlensQ", [](Problem& p, Arena&) { p.cu_seqlens_q.device = kGpu; },
     "cu_seqlens_q: got device cuda:1"},
    {"SequsedK", [](Problem& p, Arena&) { p.seqused_k.device = kGpu; },
     "seqused_k: got device cuda:1"},
    {"OtherIndex",
     [](Problem& p, Arena&) {
       p.q.device = kGpu;
       p.q.device.index = 0;
     },
     "k_pages: got device cpu, wants cuda:0, the device of q; move it there"},
};
INSTANTIATE_TEST_SUITE_P(Devices, MistakeTest, ::testing::ValuesIn(kDevices), name_of);

// What only the CUDA backend wants; nothing on the device is read by the checks.
void move_to_gpu(Problem& p) {
  for (TensorView* view : {&p.q, &p.out, &p.lse, &p.kv.k_pages, &p.kv.v_pages, &p.kv.block_table,
                           &p.cu_seqlens_q, &p.seqused_k}) {
    view->device = kGpu;
  }
}
const Mistake kGpuMistakes[] = {
    {"QRowsMisaligned",
     [](Problem& p, Arena&) {
       move_to_gpu(p);
       p.q.stride[1] = 20;
     },
     "q: got data 0x", "with strides [64, 20, 1], wants every row aligned to 16 bytes"},
    {"OutMisaligned",
     [](Problem& p, Arena&) {
       move_to_gpu(p);
       p.out.data = static_cast<char*>(p.out.data) + 8;
     },
     "out: got data 0x", "wants every row aligned to 16 bytes"},
    {"Float32",
     [](Problem& p, Arena&) {
       move_to_gpu(p);
       p.q.dtype = DType::kFloat32;
     },
     "q: got dtype float32 on cuda:1, wants float16, bfloat16 or float8_e4m3 there", "",
     StatusCode::kUnsupported},
};
INSTANTIATE_TEST_SUITE_P(Gpu, MistakeTest, ::testing::ValuesIn(kGpuMistakes), name_of);

// Plans read no data, so where it lies is of no interest to them; nor is it where there is none. K
// and V are only read.
TEST(ValidateAttention, OneAddressIsLegalWhereNothingIsWritten) {
  ValidProblem valid;
  valid.problem.kv.v_pages = valid.problem.kv.k_pages;
  EXPECT_TRUE(validate(valid.problem).ok());
  valid.problem.out.data = valid.problem.q.data;
  EXPECT_TRUE(validate(valid.problem, ProblemUse::kPlan).ok());
  EXPECT_FALSE(validate(valid.problem).ok());
  valid.problem.q.shape[0] = valid.problem.out.shape[0] = valid.problem.lse.shape[1] = 0;
  EXPECT_TRUE(validate(valid.problem).ok());
}

TEST(ValidateAttention, SaysAllThatIsWrongOncePerLine) {
  ValidProblem valid;
  valid.problem.out.dtype = DType::kInt8;
  valid.problem.softmax_scale = -1.0f;
  valid.problem.mask.window_left = -2;
  const Status status = validate(valid.problem);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "out: got dtype int8, wants bfloat16 or float8_e4m3 [num_tokens=9, num_q_heads=4, "
            "head_dim=16]\n"
            "softmax_scale: got -1, wants a finite number > 0, or 0 for 1 / sqrt(head_dim)\n"
            "window_left: got -2, wants window_left >= 0, or -1 for unlimited");
}

}  // namespace
}  // namespace pagoda::testing
