#include "cuda/step_time.h"

#include <algorithm>

#include "core/dtype.h"
#include "core/paged_kv.h"

namespace pagoda::cuda {
namespace {

// The roof, as docs/performance_gpu.md draws it from the micro-benchmarks.
constexpr double kReadBytesPerSecond = 4.45e12;   // pages of 16 tokens in random order
constexpr double kMatrixFlopsPerSecond = 740e12;  // bf16 or f16, on all SMs
constexpr double kFixedSeconds = 1.5e-6;  // launched in a graph, and the first bytes' latency
constexpr int32_t kNumSms = 132;

// The model: a worker's cost in keys, each at the pace of its kernel, and what comes besides.
// Fitted to the tables of docs/performance_gpu.md, which says how far off it is.

// The attention kernel, per worker; two have an SM. 24 SMs read 2.18 TB/s.
constexpr double kWorkerBytesPerSecond = 45e9;
// mma.sync, of the kernel's 264 workers together: decode and verification of 8 tokens.
constexpr double kFewRowsFlopsPerSecond = 126e12;
constexpr int32_t kFewRowsWorkers = 264;
// Of a key of 8 bits at head_dim 128: it becomes f16, and takes a scale.
constexpr double kFp8KeySeconds = 17e-9;
constexpr double kScaledKeySeconds = 21e-9;
constexpr double kFewRowsFixedSeconds = 3e-6;  // until the first tile is there, and the last rows

// The prefill kernel: of the matrix rate, by keys of a tile (128, or 64 above head_dim 128).
constexpr double kPrefillPart = 0.84;
constexpr double kWidePrefillPart = 0.92;
constexpr double kSoftmaxKeySeconds = 10e-9;  // 128 exponentials; more than products at head_dim 64
constexpr double kSoftCapKeySeconds = 8.8e-9;
// 8-bit K and V: converted by the way, of the pace of 16-bit ones; or before, in a kernel.
constexpr double kConvertedPart = 0.86;
constexpr double kTokenScalesPart = 0.92;  // where scores are multiplied by scales of tokens
constexpr double kConversionBytesPerSecond = 3.7e12;
constexpr double kConversionFixedSeconds = 2e-6;
constexpr double kPrefillFixedSeconds = 6e-6;
constexpr double kLonePrefillFixedSeconds = 2e-6;  // where no other kernel runs

constexpr double kJoinSeconds = 3e-6;  // of partial results, if there are any
// Two kernels beside each other, of the pace that each has alone.
constexpr double kBesidePart = 0.84;

double few_rows_key_seconds(const AttentionParams& params, const WorkSummary& work,
                            int32_t head_dim) {
  const auto element_bytes = static_cast<double>(size_of(params.kv.dtype));
  const double bytes = 2.0 * params.head_dim * element_bytes;
  const double rows = static_cast<double>(work.packed_rows) / static_cast<double>(work.num_tiles);
  const double read_rate = std::min(kReadBytesPerSecond / work.num_busy, kWorkerBytesPerSecond);
  const double matrix_rate = kFewRowsFlopsPerSecond / kFewRowsWorkers;
  double seconds = std::max(bytes / read_rate, 4.0 * head_dim * rows / matrix_rate);
  if (element_bytes == 1.0) {
    const double converted = has_token_scales(params.kv) ? kScaledKeySeconds : kFp8KeySeconds;
    seconds = std::max(seconds, converted * head_dim / 128.0);
  }
  return seconds;
}

double prefill_key_seconds(const AttentionParams& params, const WorkSummary& work,
                           const ConversionSummary& converted, int32_t head_dim) {
  const double part = head_dim > 128 ? kWidePrefillPart : kPrefillPart;
  const double matrix_rate = part * kMatrixFlopsPerSecond / kNumSms;
  double seconds = std::max(4.0 * head_dim * work.tile_rows / matrix_rate, kSoftmaxKeySeconds);
  if (params.score.logits_soft_cap > 0.0f) seconds += kSoftCapKeySeconds;
  if (size_of(params.kv.dtype) > 1) return seconds;
  if (has_token_scales(params.kv)) seconds /= kTokenScalesPart;
  const double before =
      static_cast<double>(converted.packed_rows) / static_cast<double>(work.packed_rows);
  return seconds * (before + (1.0 - before) / kConvertedPart);
}

double conversion_seconds(const AttentionParams& params, const ConversionSummary& converted) {
  if (converted.num_keys == 0) return 0.0;
  const double elements =
      2.0 * static_cast<double>(converted.num_keys) * params.num_kv_heads * params.head_dim;
  return kConversionFixedSeconds + 3.0 * elements / kConversionBytesPerSecond;  // 1 byte to 2
}

double kernel_seconds(const WorkSummary& work, double key_seconds) {
  const double join_seconds = work.num_cut_units > 0 ? kJoinSeconds : 0.0;
  return static_cast<double>(work.longest_cost) * key_seconds + join_seconds;
}

double predicted_seconds(const AttentionParams& params, const StepSummary& step, int32_t head_dim) {
  const WorkSummary& few = step.of[0];
  const WorkSummary& many = step.of[1];
  double few_seconds = 0.0;
  double many_seconds = 0.0;
  if (few.num_units > 0) {
    few_seconds =
        kFewRowsFixedSeconds + kernel_seconds(few, few_rows_key_seconds(params, few, head_dim));
  }
  if (many.num_units > 0) {
    many_seconds =
        (step.count == 1 ? kLonePrefillFixedSeconds : kPrefillFixedSeconds) +
        kernel_seconds(many, prefill_key_seconds(params, many, step.converted, head_dim)) +
        conversion_seconds(params, step.converted);
  }
  return step.cores_divided ? std::max(few_seconds, many_seconds) / kBesidePart
                            : few_seconds + many_seconds;
}

}  // namespace

StepTime step_time(const AttentionParams& params, const StepSummary& step,
                   int32_t kernel_head_dim) {
  NeededWork needed;
  int64_t packed_rows = 0;
  for (const WorkSummary& work : step.of) {
    needed += work.needed;
    packed_rows += work.packed_rows;
  }
  if (packed_rows == 0) return {};
  const auto row_bytes =
      params.head_dim * static_cast<double>(size_of(params.q.dtype) + size_of(params.out.dtype));
  const double bytes = static_cast<double>(needed.kv_bytes) +
                       static_cast<double>(packed_rows * params.num_kv_heads) * row_bytes;
  return {.roof_seconds = std::max(bytes / kReadBytesPerSecond,
                                   static_cast<double>(needed.flops) / kMatrixFlopsPerSecond) +
                          kFixedSeconds,
          .predicted_seconds = predicted_seconds(params, step, kernel_head_dim)};
}

}  // namespace pagoda::cuda
