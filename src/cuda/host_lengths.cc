#include "cuda/host_lengths.h"

#include "cuda/device_status.h"

namespace pagoda::cuda {
namespace {

// Asks without ending the capture, as a copy or a wait would.
Status check_not_captured(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  const cudaError_t error = cudaStreamIsCapturing(stream, &status);
  // The second is for the default stream, while one that waits for it is captured.
  if ((error == cudaSuccess && status != cudaStreamCaptureStatusNone) ||
      error == cudaErrorStreamCaptureImplicit) {
    cudaGetLastError();
    return {StatusCode::kInvalidArgument,
            "plan: got one made in a stream that is being captured, whose lengths are not there "
            "yet; explain() one that is made outside of the capture"};
  }
  return device_error(error);
}

// Captures of other streams go on while this thread copies and waits.
class RelaxedCapture {
 public:
  RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// Of arrays from device memory, so that the host reads them at the same places.
class Copies {
 public:
  explicit Copies(cudaStream_t stream) : stream_(stream) {}

  // `array` points to the host's copy then; null stays null.
  template <class T>
  void add(int64_t count, int64_t stride, const T** array, std::vector<T>* host) {
    if (*array == nullptr || count == 0 || error_ != cudaSuccess) return;
    host->resize(static_cast<size_t>((count - 1) * stride + 1));
    error_ =
        cudaMemcpyAsync(host->data(), *array, host->size() * sizeof(T), cudaMemcpyDefault, stream_);
    *array = host->data();
  }

  cudaError_t wait() const {
    return error_ == cudaSuccess ? cudaStreamSynchronize(stream_) : error_;
  }

 private:
  cudaStream_t stream_;
  cudaError_t error_ = cudaSuccess;
};

}  // namespace

Status HostLengths::fetch(cudaStream_t stream) {
  if (Status status = check_not_captured(stream); !status.ok()) return status;
  const RelaxedCapture relaxed;
  Copies copies(stream);
  MaskParams& mask = params_.mask;
  const int64_t num_seqs = params_.num_seqs;
  copies.add(num_seqs + 1, 1, &params_.cu_seqlens_q, &cu_seqlens_q_);
  copies.add(num_seqs, 1, &params_.seqused_k, &seqused_k_);
  copies.add(num_seqs, mask.causal_per_seq_stride, &mask.causal_per_seq, &causal_per_seq_);
  copies.add(num_seqs, mask.prefix_lens_stride, &mask.prefix_lens, &prefix_lens_);
  copies.add(params_.num_tokens, mask.tree_words_stride, &mask.tree_words, &tree_words_);
  copies.add(2 * num_seqs * mask.max_ranges, 1, &mask.bidirectional_ranges, &ranges_);
  return device_error(copies.wait());
}

}  // namespace pagoda::cuda
