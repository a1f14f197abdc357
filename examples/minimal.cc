// One serving step over a paged KV cache in one call: the 5 tokens of a new prompt, and the next
// token of a sequence that is then 40 tokens long. Prints a line for each new token.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "pagoda/attention.h"
#include "pagoda/kv_cache.h"

using pagoda::DType;
using pagoda::Status;
using pagoda::TensorView;

namespace {

constexpr int64_t kTokens = 6, kSeqs = 2, kQHeads = 8, kKvHeads = 2, kHeadDim = 64;
constexpr int64_t kPages = 8, kPageSize = 16;

// Sequence 0 lives in page 3; sequence 1 in pages 6, 1 and 4. The -1 are never read.
constexpr int32_t kBlockTable[kSeqs][3] = {{3, -1, -1}, {6, 1, 4}};
constexpr int32_t kCuSeqlensQ[] = {0, 5, 6};
constexpr int32_t kSequsedK[] = {5, 40};
constexpr int64_t kSlots[] = {48, 49, 50, 51, 52, 4 * kPageSize + 7};  // page * page_size + offset

// Stands in for what a model computes.
std::vector<float> made_up_data(int64_t count) {
  std::vector<float> data(count);
  for (int64_t i = 0; i < count; ++i) data[i] = static_cast<float>(i * 37 % 101) / 50.0f - 1.0f;
  return data;
}

Status write_new_tokens(std::vector<float>& k_pages, std::vector<float>& v_pages) {
  const std::vector<float> k = made_up_data(kTokens * kKvHeads * kHeadDim);
  const std::vector<float>& v = k;
  pagoda::WriteKvCache args;
  args.k = TensorView::contiguous(k.data(), DType::kFloat32, {kTokens, kKvHeads, kHeadDim});
  args.v = TensorView::contiguous(v.data(), DType::kFloat32, {kTokens, kKvHeads, kHeadDim});
  args.k_pages = TensorView::contiguous(k_pages.data(), DType::kFloat32,
                                        {kPages, kPageSize, kKvHeads, kHeadDim});
  args.v_pages = TensorView::contiguous(v_pages.data(), DType::kFloat32,
                                        {kPages, kPageSize, kKvHeads, kHeadDim});
  args.slot_mapping = TensorView::contiguous(kSlots, DType::kInt64, {kTokens});
  return pagoda::write_kv_cache(args);
}

Status attend(const std::vector<float>& q, const std::vector<float>& k_pages,
              const std::vector<float>& v_pages, std::vector<float>& out) {
  pagoda::AttentionProblem problem;
  problem.q = TensorView::contiguous(q.data(), DType::kFloat32, {kTokens, kQHeads, kHeadDim});
  problem.out = TensorView::contiguous(out.data(), DType::kFloat32, {kTokens, kQHeads, kHeadDim});
  problem.kv.k_pages = TensorView::contiguous(k_pages.data(), DType::kFloat32,
                                              {kPages, kPageSize, kKvHeads, kHeadDim});
  problem.kv.v_pages = TensorView::contiguous(v_pages.data(), DType::kFloat32,
                                              {kPages, kPageSize, kKvHeads, kHeadDim});
  problem.kv.block_table = TensorView::contiguous(kBlockTable, DType::kInt32, {kSeqs, 3});
  problem.cu_seqlens_q = TensorView::contiguous(kCuSeqlensQ, DType::kInt32, {kSeqs + 1});
  problem.seqused_k = TensorView::contiguous(kSequsedK, DType::kInt32, {kSeqs});

  size_t bytes = 0;  // enough for every step within the limits: allocate it once
  Status status = pagoda::workspace_size(pagoda::limits_of(problem), &bytes);
  if (!status.ok()) return status;
  struct alignas(64) Block {
    unsigned char bytes[64];
  };
  std::vector<Block> memory((bytes + sizeof(Block) - 1) / sizeof(Block));
  return pagoda::unified_attention(problem, {memory.data(), bytes});
}

}  // namespace

int main() {
  std::vector<float> k_pages = made_up_data(kPages * kPageSize * kKvHeads * kHeadDim);
  std::vector<float> v_pages = k_pages;
  const std::vector<float> q = made_up_data(kTokens * kQHeads * kHeadDim);
  std::vector<float> out(q.size());

  Status status = write_new_tokens(k_pages, v_pages);
  if (status.ok()) status = attend(q, k_pages, v_pages, out);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.message().c_str());
    return 1;
  }
  for (int64_t token = 0; token < kTokens; ++token) {
    const float* row = &out[token * kQHeads * kHeadDim];
    std::printf("token %d, head 0: %8.5f %8.5f %8.5f ...\n", static_cast<int>(token), row[0],
                row[1], row[2]);
  }
  return 0;
}
