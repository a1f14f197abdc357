#include "device_batch.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "timing.h"

namespace pagoda::bench {
namespace {

constexpr Device kDevice{DeviceType::kCuda, 0};
// Copies of a batch together exceed the L2 by far.
constexpr double kRotatedBytes = 1e9;
constexpr int kMaxCopies = 24;

uint16_t to_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

int32_t num_pages_of(const Sequence& s, int32_t page_size) {
  return (s.k_len + page_size - 1) / page_size;
}

}  // namespace

DeviceBatch::DeviceBatch(const Workload& workload) : values_(1 << 22) {
  std::normal_distribution<float> normal;
  for (uint16_t& x : values_) x = to_bf16(normal(random_));
  const int copies = std::clamp(static_cast<int>(kRotatedBytes / workload.bytes()), 1, kMaxCopies);
  for (int i = 0; i < copies; ++i) add_copy(workload);
}

DeviceBatch::~DeviceBatch() {
  for (void* block : memory_) cudaFree(block);
}

void* DeviceBatch::allocate(size_t bytes) {
  void* block = nullptr;
  check(cudaMalloc(&block, bytes));
  memory_.push_back(block);
  return block;
}

template <class T>
T* DeviceBatch::upload(const std::vector<T>& host) {
  const size_t bytes = host.size() * sizeof(T);
  T* device = static_cast<T*>(allocate(bytes));
  check(cudaMemcpy(device, host.data(), bytes, cudaMemcpyHostToDevice));
  return device;
}

TensorView DeviceBatch::random_tensor(std::initializer_list<int64_t> shape) {
  TensorView view = TensorView::contiguous(nullptr, DType::kBFloat16, shape, kDevice);
  const auto count = static_cast<size_t>(view.num_elements());
  auto* data = static_cast<uint16_t*>(allocate(count * sizeof(uint16_t)));
  for (size_t begin = 0; begin < count; begin += values_.size()) {
    const size_t part = std::min(values_.size(), count - begin);
    check(
        cudaMemcpy(data + begin, values_.data(), part * sizeof(uint16_t), cudaMemcpyHostToDevice));
  }
  view.data = data;
  return view;
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
  std::shuffle(ids.begin(), ids.end(), random_);
  const auto num_seqs = static_cast<int64_t>(w.sequences.size());
  std::vector<int32_t> table(static_cast<size_t>(num_seqs * max_pages), -1);
  auto next = ids.begin();
  for (size_t s = 0; s < w.sequences.size(); ++s) {
    const int32_t count = num_pages_of(w.sequences[s], w.page_size);
    std::copy(next, next + count, table.begin() + static_cast<int64_t>(s) * max_pages);
    next += count;
  }

  AttentionProblem problem;
  problem.q = random_tensor({w.num_tokens(), w.num_q_heads, w.head_dim});
  problem.out = random_tensor({w.num_tokens(), w.num_q_heads, w.head_dim});
  problem.kv.k_pages = random_tensor({num_pages, w.page_size, w.num_kv_heads, w.head_dim});
  problem.kv.v_pages = random_tensor({num_pages, w.page_size, w.num_kv_heads, w.head_dim});
  problem.kv.block_table =
      TensorView::contiguous(upload(table), DType::kInt32, {num_seqs, max_pages}, kDevice);
  problem.cu_seqlens_q =
      TensorView::contiguous(upload(cu_seqlens_q), DType::kInt32, {num_seqs + 1}, kDevice);
  problem.seqused_k = TensorView::contiguous(upload(seqused_k), DType::kInt32, {num_seqs}, kDevice);
  problem.mask.window_left = w.window_left;
  problems_.push_back(problem);
}

std::vector<Workspace> DeviceBatch::workspaces(size_t bytes) {
  std::vector<Workspace> result;
  for (int i = 0; i < num_copies(); ++i) result.push_back({allocate(bytes), bytes});
  return result;
}

}  // namespace pagoda::bench
