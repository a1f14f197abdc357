// What a plan is made from, copied from the device to the host.
#ifndef PAGODA_CUDA_HOST_LENGTHS_H_
#define PAGODA_CUDA_HOST_LENGTHS_H_

#include <cuda_runtime_api.h>

#include <vector>

#include "core/attention_params.h"

namespace pagoda::cuda {

class HostLengths {
 public:
  explicit HostLengths(const AttentionParams& params) : params_(params) {}
  HostLengths(const HostLengths&) = delete;
  HostLengths& operator=(const HostLengths&) = delete;

  // Copies in `stream` and waits for it. Changes nothing, and says why, where it is being captured.
  Status fetch(cudaStream_t stream);

  // After fetch(): the host may read lengths and the mask's tensors of this.
  const AttentionParams& params() const { return params_; }

 private:
  AttentionParams params_;
  std::vector<int32_t> cu_seqlens_q_;
  std::vector<int32_t> seqused_k_;
  std::vector<uint8_t> causal_per_seq_;
  std::vector<int32_t> prefix_lens_;
  std::vector<int64_t> tree_words_;
  std::vector<int32_t> ranges_;
};

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_HOST_LENGTHS_H_
