#include "cuda/device_problem.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "cases_memory.h"

namespace pagoda::testing {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

DeviceBuffer::DeviceBuffer(size_t bytes) {
  check(cudaMalloc(&data_, bytes > 0 ? bytes : 1), "cudaMalloc");
}
DeviceBuffer::~DeviceBuffer() {
  cudaFree(data_);
}
DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)) {}

DeviceProblem::DeviceProblem(const AttentionProblem& host) : device_(host) {
  for (TensorView* view : {&device_.q,
                           &device_.kv.k_pages,
                           &device_.kv.v_pages,
                           &device_.kv.block_table,
                           &device_.kv.page_indptr,
                           &device_.kv.page_indices,
                           &device_.kv.k_scale,
                           &device_.kv.v_scale,
                           &device_.kv.k_token_scale,
                           &device_.kv.v_token_scale,
                           &device_.cu_seqlens_q,
                           &device_.seqused_k,
                           &device_.q_scale,
                           &device_.out_scale,
                           &device_.alibi_slopes,
                           &device_.bias,
                           &device_.sinks,
                           &device_.mask.causal_per_seq,
                           &device_.mask.prefix_lens,
                           &device_.mask.tree_words,
                           &device_.mask.bidirectional_ranges}) {
    move(view, false);
  }
  for (TensorView* view : {&device_.out, &device_.lse}) move(view, true);
  device_.checked = false;  // contents are checked on the CPU only
  upload();
}

void DeviceProblem::move(TensorView* view, bool output) {
  view->device = {DeviceType::kCuda, 0};
  if (!view->present()) return;
  const size_t bytes = bytes_spanned(*view);
  buffers_.emplace_back(bytes);
  copies_.push_back({view->data, buffers_.back().data(), bytes, output});
  view->data = buffers_.back().data();
}

void DeviceProblem::upload() const {
  for (const Copy& copy : copies_) {
    check(cudaMemcpy(copy.device, copy.host, copy.bytes, cudaMemcpyHostToDevice), "upload");
  }
}

void DeviceProblem::fetch_outputs() const {
  check(cudaDeviceSynchronize(), "kernel");
  for (const Copy& copy : copies_) {
    if (!copy.output) continue;
    check(cudaMemcpy(copy.host, copy.device, copy.bytes, cudaMemcpyDeviceToHost), "download");
  }
}

}  // namespace pagoda::testing
