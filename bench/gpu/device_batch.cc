#include "device_batch.h"

#include <algorithm>
#include <numeric>

namespace pagoda::bench {
namespace {

// Copies of a batch together exceed the L2 by far.
constexpr double kRotatedBytes = 1e9;
constexpr int kMaxCopies = 24;
constexpr float kInt8Scale = 1.0f / 64.0f;

int32_t num_pages_of(const Sequence& s, int32_t page_size) {
  return (s.k_len + page_size - 1) / page_size;
}

}  // namespace

DeviceBatch::DeviceBatch(const Workload& workload) {
  const int copies = std::clamp(static_cast<int>(kRotatedBytes / workload.bytes()), 1, kMaxCopies);
  for (int i = 0; i < copies; ++i) add_copy(workload);
}

void DeviceBatch::add_copy(const Workload& w) {
  std::vector<int32_t> cu_seqlens_q{0};
  std::vector<int32_t> seqused_k;
  int32_t num_pages = 0;
  int32_t max_pages = 0;
  for (const Sequence& s : w.sequences) {
    cu_seqlens_q.push_back(cu_seqlens_q.back() + s.q_len);
    seqused_k.push_back(s.k_len);
    num_pages += num_pages_of(s, w.page_size);
    max_pages = std::max(max_pages, num_pages_of(s, w.page_size));
  }
  std::vector<int32_t> ids(static_cast<size_t>(num_pages));
  std::iota(ids.begin(), ids.end(), 0);
  std::shuffle(ids.begin(), ids.end(), memory_.random());
  const auto num_seqs = static_cast<int64_t>(w.sequences.size());
  std::vector<int32_t> table(static_cast<size_t>(num_seqs * max_pages), -1);
  auto next = ids.begin();
  for (size_t s = 0; s < w.sequences.size(); ++s) {
    const int32_t count = num_pages_of(w.sequences[s], w.page_size);
    std::copy(next, next + count, table.begin() + static_cast<int64_t>(s) * max_pages);
    next += count;
  }

  AttentionProblem problem;
  problem.q = memory_.random_tensor(DType::kBFloat16, {w.num_tokens(), w.num_q_heads, w.head_dim});
  problem.out =
      memory_.random_tensor(DType::kBFloat16, {w.num_tokens(), w.num_q_heads, w.head_dim});
  for (TensorView* pages : {&problem.kv.k_pages, &problem.kv.v_pages}) {
    *pages =
        memory_.random_tensor(w.kv_dtype, {num_pages, w.page_size, w.num_kv_heads, w.head_dim});
  }
  if (w.kv_dtype == DType::kInt8) {
    const std::vector<float> scales(
        static_cast<size_t>(int64_t{num_pages} * w.page_size * w.num_kv_heads), kInt8Scale);
    for (TensorView* view : {&problem.kv.k_token_scale, &problem.kv.v_token_scale}) {
      *view = memory_.upload(scales, DType::kFloat32, {num_pages, w.page_size, w.num_kv_heads});
    }
  }
  problem.kv.block_table = memory_.upload(table, DType::kInt32, {num_seqs, max_pages});
  problem.cu_seqlens_q = memory_.upload(cu_seqlens_q, DType::kInt32, {num_seqs + 1});
  problem.seqused_k = memory_.upload(seqused_k, DType::kInt32, {num_seqs});
  for (const Sequence& sequence : w.sequences) {
    problem.max_seqlen_q = std::max(problem.max_seqlen_q, sequence.q_len);
  }
  problem.mask.window_left = w.window_left;
  problem.logits_soft_cap = w.logits_soft_cap;
  problems_.push_back(problem);
}

std::vector<Workspace> DeviceBatch::workspaces(size_t bytes) {
  std::vector<Workspace> result;
  for (int i = 0; i < num_copies(); ++i) result.push_back({memory_.allocate(bytes), bytes});
  return result;
}

}  // namespace pagoda::bench
