// How many conversions and fast functions an SM computes per clock.
#include "cuda/sm90/convert.cuh"
#include "measure.h"

namespace pagoda::micro {
namespace {

constexpr int kThreads = 1024;
constexpr int kChains = 8;  // independent of each other, in each thread
constexpr int kSteps = 256;

// A step takes and gives 32 bits, and computes kPerStep results.
struct E4m3x2ToF16x2 {
  static constexpr const char* kName = "e4m3x2_to_f16x2";
  static constexpr int kPerStep = 2;
  static PAGODA_DEVICE uint32_t step(uint32_t x) {
    return sm90::e4m3x2_to_f16x2(static_cast<uint16_t>(x));
  }
};

// As when a word of four e4m3 is converted: both halves, joined again.
struct E4m3x4ToF16x4 {
  static constexpr const char* kName = "e4m3x4_to_f16x4_xor";
  static constexpr int kPerStep = 4;
  static PAGODA_DEVICE uint32_t step(uint32_t x) {
    return sm90::e4m3x2_to_f16x2(static_cast<uint16_t>(x)) ^
           sm90::e4m3x2_to_f16x2(static_cast<uint16_t>(x >> 16));
  }
};

struct Exp2F32 {
  static constexpr const char* kName = "ex2_f32";
  static constexpr int kPerStep = 1;
  static PAGODA_DEVICE uint32_t step(uint32_t x) {
    return __float_as_uint(sm90::exp2_approx(-__uint_as_float(x)));
  }
};

struct Exp2F16x2 {
  static constexpr const char* kName = "ex2_f16x2";
  static constexpr int kPerStep = 2;
  static PAGODA_DEVICE uint32_t step(uint32_t x) { return sm90::exp2_approx_f16x2(x); }
};

struct Tanh {
  static constexpr const char* kName = "tanh_f32";
  static constexpr int kPerStep = 1;
  static PAGODA_DEVICE uint32_t step(uint32_t x) {
    return __float_as_uint(sm90::tanh_approx(__uint_as_float(x)));
  }
};

template <class T>
struct PackPair {
  static constexpr const char* kName =
      std::is_same_v<T, BFloat16> ? "f32x2_to_bf16x2" : "f32x2_to_f16x2";
  static constexpr int kPerStep = 2;
  static PAGODA_DEVICE uint32_t step(uint32_t x) {
    return sm90::pack_pair<T>(__uint_as_float(x), __uint_as_float(x));
  }
};

struct PackE4m3 {
  static constexpr const char* kName = "f32x2_to_e4m3x2";
  static constexpr int kPerStep = 2;
  static PAGODA_DEVICE uint32_t step(uint32_t x) {
    return sm90::pack_e4m3x2(__uint_as_float(x), __uint_as_float(x));
  }
};

// The yardstick: 128 per clock.
struct FusedMultiplyAdd {
  static constexpr const char* kName = "fma_f32";
  static constexpr int kPerStep = 1;
  static PAGODA_DEVICE uint32_t step(uint32_t x) {
    return __float_as_uint(__fmaf_rn(__uint_as_float(x), 0.7f, 0.3f));
  }
};

template <class Op>
__global__ __launch_bounds__(kThreads) void repeat_op(uint32_t seed, int64_t* cycles,
                                                      uint32_t* out) {
  uint32_t x[kChains];
#pragma unroll
  for (int i = 0; i < kChains; ++i) x[i] = seed * (threadIdx.x * kChains + i);
  __syncthreads();
  const int64_t start = clock64();
#pragma unroll 8
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int i = 0; i < kChains; ++i) x[i] = Op::step(x[i]);
  }
  __syncthreads();
  if (threadIdx.x == 0) cycles[blockIdx.x] = clock64() - start;
  uint32_t all = 0;
#pragma unroll
  for (int i = 0; i < kChains; ++i) all ^= x[i];
  out[blockIdx.x * kThreads + threadIdx.x] = all;
}

template <class Op>
void measure(Report& report) {
  const int ctas = current_gpu().num_sms;
  const Buffer<int64_t> cycles(ctas);
  const Buffer<uint32_t> out(static_cast<size_t>(ctas) * kThreads);
  for (int i = 0; i < 2; ++i)
    repeat_op<Op><<<ctas, kThreads>>>(0x9e3779b9u, cycles.get(), out.get());
  const std::vector<int64_t> measured = cycles.to_host();
  const double results = double{kThreads} * kChains * kSteps * Op::kPerStep;
  report.add("convert_rate", {{"op", Op::kName}},
             results / median({measured.begin(), measured.end()}), "results/clk/SM");
}

}  // namespace

void run_convert_rate(Report& report) {
  report.section("conversions and fast functions");
  measure<FusedMultiplyAdd>(report);
  measure<E4m3x2ToF16x2>(report);
  measure<E4m3x4ToF16x4>(report);
  measure<PackPair<BFloat16>>(report);
  measure<PackPair<Float16>>(report);
  measure<PackE4m3>(report);
  measure<Exp2F32>(report);
  measure<Exp2F16x2>(report);
  measure<Tanh>(report);
}

}  // namespace pagoda::micro
