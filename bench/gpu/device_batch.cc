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
constexpr float kInt8Scale = 1.0f / 64.0f;

uint16_t to_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

int32_t num_pages_of(const Sequence& s, int32_t page_size) {
  return (s.k_len + page_size - 1) / page_size;
}

}  // namespace

DeviceBatch::DeviceBatch(const Workload& workload) {
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

// bf16 of a normal distribution; 8-bit floats below 2, int8 of all values.
std::vector<uint8_t> DeviceBatch::random_values(DType dtype) {
  constexpr size_t kBytes = 1 << 23;
  std::vector<uint8_t> bytes(kBytes);
  if (dtype == DType::kBFloat16) {
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < kBytes; i += 2) {
      const uint16_t x = to_bf16(normal(random_));
      std::memcpy(&bytes[i], &x, sizeof(x));
    }
  } else {
    const uint32_t kept = dtype == DType::kInt8 ? 0xff : 0xbf;
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random_() & kept);
  }
  return bytes;
}

// The same values again and again.
TensorView DeviceBatch::random_tensor(DType dtype, std::initializer_list<int64_t> shape) {
  auto [values, is_new] = values_.try_emplace(dtype);
  if (is_new) values->second = random_values(dtype);
  const std::vector<uint8_t>& part = values->second;
  TensorView view = TensorView::contiguous(nullptr, dtype, shape, kDevice);
  const size_t bytes = static_cast<size_t>(view.num_elements()) * size_of(dtype);
  auto* data = static_cast<uint8_t*>(allocate(bytes));
  for (size_t begin = 0; begin < bytes; begin += part.size()) {
    check(cudaMemcpy(data + begin, part.data(), std::min(part.size(), bytes - begin),
                     cudaMemcpyHostToDevice));
  }
  view.data = data;
  return view;
}

TensorView DeviceBatch::token_scales(std::initializer_list<int64_t> shape) {
  TensorView view = TensorView::contiguous(nullptr, DType::kFloat32, shape, kDevice);
  view.data = upload(std::vector<float>(static_cast<size_t>(view.num_elements()), kInt8Scale));
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
  problem.q = random_tensor(DType::kBFloat16, {w.num_tokens(), w.num_q_heads, w.head_dim});
  problem.out = random_tensor(DType::kBFloat16, {w.num_tokens(), w.num_q_heads, w.head_dim});
  for (TensorView* pages : {&problem.kv.k_pages, &problem.kv.v_pages}) {
    *pages = random_tensor(w.kv_dtype, {num_pages, w.page_size, w.num_kv_heads, w.head_dim});
  }
  if (w.kv_dtype == DType::kInt8) {
    for (TensorView* scales : {&problem.kv.k_token_scale, &problem.kv.v_token_scale}) {
      *scales = token_scales({num_pages, w.page_size, w.num_kv_heads});
    }
  }
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
