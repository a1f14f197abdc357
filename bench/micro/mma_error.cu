// How far sums of the tensor cores are from exact ones, of values that e4m3 and f16 both hold:
// logits of head_dim 128.
#include <cmath>
#include <random>

#include "core/dtype.h"
#include "cuda/sm90/sync.cuh"
#include "cuda/sm90/wgmma.cuh"
#include "cuda/tile/fragment.cuh"
#include "cuda/tile/smem_tile.cuh"
#include "measure.h"

namespace pagoda::micro {
namespace {

constexpr int kRows = 64;
constexpr int kKeys = 128;
constexpr int kHeadDim = 128;

// scores[kRows][kKeys] = q[kRows][kHeadDim] k[kKeys][kHeadDim]^T, by one warpgroup.
template <class T>
__global__ __launch_bounds__(128) void multiply(const T* q, const T* k, float* scores) {
  using QueryTile = tile::SmemTile<T, kRows, kHeadDim, sm90::Swizzle::k128B>;
  using KeyTile = tile::SmemTile<T, kKeys, kHeadDim, sm90::Swizzle::k128B>;
  __shared__ QueryTile queries;
  __shared__ KeyTile keys;
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < kRows * kHeadDim; i += 128) {
    queries.at(i / kHeadDim, i % kHeadDim) = q[i];
  }
  for (int i = thread; i < kKeys * kHeadDim; i += 128) keys.at(i / kHeadDim, i % kHeadDim) = k[i];
  sm90::fence_smem_for_async_proxy();
  __syncthreads();
  tile::Fragment<kKeys> sums;
  sm90::wgmma_fence();
#pragma unroll
  for (int c = 0; c < kHeadDim; c += 32 / static_cast<int>(sizeof(T))) {
    sm90::wgmma_ss<T>(sums.at, queries.k_major(0, c), keys.k_major(0, c), c > 0);
  }
  sm90::wgmma_commit();
  sm90::wgmma_wait<0>();
  sm90::pin_registers(sums.at);
#pragma unroll
  for (int i = 0; i < sums.kSize; ++i) {
    scores[sums.row_of(i, thread) * kKeys + sums.col_of(i, thread)] = sums.at[i];
  }
}

using Matrix = std::vector<Float8E4M3>;

// Normal values; of every row, the first is `first` times as large.
Matrix random_rows(int num_rows, float first, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Matrix rows(static_cast<size_t>(num_rows) * kHeadDim);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] = to_float8_e4m3(normal(random) * (i % kHeadDim == 0 ? first : 1.0f));
  }
  return rows;
}

std::vector<double> exact_scores(const Matrix& q, const Matrix& k) {
  std::vector<double> scores(kRows * kKeys);
  for (int i = 0; i < kRows * kKeys; ++i) {
    for (int c = 0; c < kHeadDim; ++c) {
      scores[i] += double{to_float(q[i / kKeys * kHeadDim + c])} *
                   double{to_float(k[i % kKeys * kHeadDim + c])};
    }
  }
  return scores;
}

template <class T>
std::vector<T> as(const Matrix& from) {
  std::vector<T> to;
  for (const Float8E4M3 x : from) {
    if constexpr (std::is_same_v<T, Float8E4M3>) {
      to.push_back(x);
    } else {
      to.push_back(to_float16(to_float(x)));
    }
  }
  return to;
}

template <class T>
void measure(Report& report, const char* type, float first) {
  const Matrix q = random_rows(kRows, first, 1);
  const Matrix k = random_rows(kKeys, first, 2);
  const Buffer<T> device_q(as<T>(q)), device_k(as<T>(k));
  const Buffer<float> device_scores(kRows * kKeys);
  multiply<T><<<1, 128>>>(device_q.get(), device_k.get(), device_scores.get());
  check(cudaDeviceSynchronize(), "multiply");
  const std::vector<float> scores = device_scores.to_host();
  const std::vector<double> exact = exact_scores(q, k);
  double squares = 0.0, largest = 0.0, sum = 0.0;
  for (size_t i = 0; i < scores.size(); ++i) {
    const double error = std::abs(double{scores[i]} - exact[i]);
    squares += exact[i] * exact[i];
    largest = std::max(largest, error);
    sum += error;
  }
  const auto count = static_cast<double>(scores.size());
  const double scale = std::sqrt(squares / count);
  const Settings settings = {{"type", type}, {"first_channel", text(static_cast<int>(first))}};
  report.add("mma_error_mean", settings, 1e6 * sum / count / scale, "millionths of the RMS");
  report.add("mma_error_largest", settings, 1e6 * largest / scale, "millionths of the RMS");
}

}  // namespace

void run_mma_error(Report& report) {
  report.section("wgmma: error of scores of 128 channels, q and k e4m3 values");
  for (const float first : {1.0f, 30.0f}) {
    measure<Float8E4M3>(report, "e4m3", first);
    measure<Float16>(report, "f16", first);
  }
}

}  // namespace pagoda::micro
