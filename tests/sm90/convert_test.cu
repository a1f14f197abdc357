// Conversions against core/dtype.h, which computes them in integer arithmetic; fast functions
// against the host's.
#include <limits>
#include <random>

#include "check.h"
#include "core/dtype.h"
#include "cuda/sm90/convert.cuh"

namespace pagoda::testing {
namespace {

// Even pairs alone, odd ones as the upper half of a register.
__global__ void expand_pairs(const uint16_t* pairs, int size, uint32_t* e4m3, uint32_t* e5m2) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= size) return;
  uint32_t low, high;
  sm90::e4m3x4_to_f16x4(pairs[i] * 0x10001u, low, high);
  e4m3[i] = i % 2 == 0 ? sm90::e4m3x2_to_f16x2(pairs[i]) : low == high ? high : ~high;
  e5m2[i] = sm90::e5m2x2_to_f16x2(pairs[i]);
}

__global__ void pack(const float* x, int size, uint32_t* f16, uint32_t* bf16, uint16_t* e4m3,
                     uint16_t* e5m2) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (2 * i >= size) return;
  f16[i] = sm90::pack_pair<Float16>(x[2 * i], x[2 * i + 1]);
  bf16[i] = sm90::pack_pair<BFloat16>(x[2 * i], x[2 * i + 1]);
  e4m3[i] = sm90::pack_e4m3x2(x[2 * i], x[2 * i + 1]);
  e5m2[i] = sm90::pack_e5m2x2(x[2 * i], x[2 * i + 1]);
}

struct FastFunctions {
  float* exp2;
  float* exp2_half;
  float* log2_of_exp2;
  float* reciprocal;
  float* tanh;
};

__global__ void apply(const float* x, int size, FastFunctions out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= size) return;
  out.exp2[i] = sm90::exp2_approx(x[i]);
  const uint32_t pair = sm90::exp2_approx_f16x2(sm90::pack_pair<Float16>(0.0f, x[i]));
  out.exp2_half[i] = to_float(Float16{static_cast<uint16_t>(pair >> 16)});
  out.log2_of_exp2[i] = sm90::log2_approx(sm90::exp2_approx(x[i]));
  out.reciprocal[i] = sm90::reciprocal_approx(x[i]);
  out.tanh[i] = sm90::tanh_approx(x[i]);
}

bool same_or_both_nan(float a, float b) {
  return a == b || (std::isnan(a) && std::isnan(b));
}

void test_expansion(Suite& suite) {
  suite.begin("convert/every pair of 8-bit floats expands exactly");
  std::vector<uint16_t> pairs(65536);
  for (int i = 0; i < 65536; ++i) pairs[i] = static_cast<uint16_t>(i);
  const DeviceArray<uint16_t> input(pairs);
  const DeviceArray<uint32_t> e4m3(pairs.size()), e5m2(pairs.size());
  expand_pairs<<<256, 256>>>(input.get(), 65536, e4m3.get(), e5m2.get());
  suite.synchronize();
  const std::vector<uint32_t> got_e4m3 = e4m3.to_host(), got_e5m2 = e5m2.to_host();
  for (int i = 0; i < 65536; ++i) {
    for (int half = 0; half < 2; ++half) {
      const auto code = static_cast<uint8_t>(i >> (8 * half));
      const Float16 a{static_cast<uint16_t>(got_e4m3[i] >> (16 * half))};
      const Float16 b{static_cast<uint16_t>(got_e5m2[i] >> (16 * half))};
      suite.expect(same_or_both_nan(to_float(a), to_float(Float8E4M3{code})),
                   "e4m3 code " + std::to_string(code) + " became " + std::to_string(to_float(a)));
      suite.expect(same_or_both_nan(to_float(b), to_float(Float8E5M2{code})),
                   "e5m2 code " + std::to_string(code) + " became " + std::to_string(to_float(b)));
    }
  }
}

__global__ void move_and_subtract(uint32_t* out) {
  out[0] = sm90::permute_bytes(0x33221100u, 0x77665544u, 0x5207);
  out[1] = sm90::subtract_f16x2(0x64806400u, 0x64806480u);  // (1024, 1152) - (1152, 1152)
}

void test_pairs(Suite& suite) {
  suite.begin("convert/bytes are permuted, pairs subtracted");
  const DeviceArray<uint32_t> out(2);
  move_and_subtract<<<1, 1>>>(out.get());
  suite.synchronize();
  const std::vector<uint32_t> got = out.to_host();
  suite.expect(got[0] == 0x55220077u, "permuted to " + std::to_string(got[0]));
  suite.expect(got[1] == 0x0000d800u, "subtracted to " + std::to_string(got[1]));  // (-128, 0)
}

__global__ void multiply_and_add(uint32_t* out) {
  out[0] = sm90::fma_pair<Float16>(0xc0003c00u, 0x42004000u, 0x3c003c00u);   // (1, -2) (2, 3) + 1
  out[1] = sm90::fma_pair<BFloat16>(0xc0003f80u, 0x40404000u, 0x3f803f80u);  // the same
}

void test_fma_pairs(Suite& suite) {
  suite.begin("convert/pairs are multiplied and added");
  const DeviceArray<uint32_t> out(2);
  multiply_and_add<<<1, 1>>>(out.get());
  suite.synchronize();
  const std::vector<uint32_t> want = {0xc5004200u, 0xc0a04040u};  // (3, -5)
  suite.expect_equal(out.to_host(), want);
}

__global__ void round_and_pack(const float* x, int size, int32_t* rounded, uint32_t* packed) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (4 * i >= size) return;
  for (int j = 4 * i; j < 4 * i + 4; ++j) rounded[j] = sm90::round_to_s32(x[j]);
  packed[i] =
      sm90::pack_s8x4(rounded[4 * i], rounded[4 * i + 1], rounded[4 * i + 2], rounded[4 * i + 3]);
}

void test_integers(Suite& suite) {
  suite.begin("convert/floats become integers to nearest even, bytes saturate");
  const std::vector<float> x = {0.5f,  1.5f,    2.5f, -0.5f,  -1.5f, 126.5f, 127.5f,  1e20f,
                                -1e9f, -128.5f, NAN,  -1e20f, -3.0f, 4.0f,   -127.0f, INFINITY};
  const int size = static_cast<int>(x.size());
  const DeviceArray<float> input(x);
  const DeviceArray<int32_t> rounded(x.size());
  const DeviceArray<uint32_t> packed(x.size() / 4);
  round_and_pack<<<1, 32>>>(input.get(), size, rounded.get(), packed.get());
  suite.synchronize();
  constexpr int32_t kMost = std::numeric_limits<int32_t>::max();
  constexpr int32_t kLeast = std::numeric_limits<int32_t>::min();
  const std::vector<int32_t> want = {0,           2,    2, 0,      -2, 126, 128,  kMost,
                                     -1000000000, -128, 0, kLeast, -3, 4,   -127, kMost};
  suite.expect_equal(rounded.to_host(), want);
  const std::vector<uint32_t> want_packed = {0x00020200u, 0x7f7f7efeu, 0x80008080u, 0x7f8104fdu};
  suite.expect_equal(packed.to_host(), want_packed);
}

void test_packing(Suite& suite) {
  suite.begin("convert/packing rounds to nearest even and saturates");
  std::mt19937 random(1);
  std::vector<float> x = {0.0f,   -0.0f, 1.0f,     447.0f,  448.0f,     464.0f,
                          465.0f, -1e9f, 65504.0f, 1e-9f,   0.5f / 512, 1.5f / 512,
                          17.0f,  19.0f, 57344.0f, 61441.0f};
  std::uniform_real_distribution<float> exponent(-20.0f, 15.0f);
  std::normal_distribution<float> mantissa;
  while (x.size() < 65536) x.push_back(mantissa(random) * std::exp2(exponent(random)));
  const int size = static_cast<int>(x.size());
  const DeviceArray<float> input(x);
  const DeviceArray<uint32_t> f16(size / 2), bf16(size / 2);
  const DeviceArray<uint16_t> e4m3(size / 2), e5m2(size / 2);
  pack<<<size / 512, 256>>>(input.get(), size, f16.get(), bf16.get(), e4m3.get(), e5m2.get());
  suite.synchronize();
  std::vector<uint32_t> want_f16, want_bf16;
  std::vector<uint16_t> want_e4m3, want_e5m2;
  for (int i = 0; i < size; i += 2) {
    want_f16.push_back(to_float16(x[i]).bits | to_float16(x[i + 1]).bits << 16);
    want_bf16.push_back(to_bfloat16(x[i]).bits | to_bfloat16(x[i + 1]).bits << 16);
    want_e4m3.push_back(to_float8_e4m3(x[i]).bits | to_float8_e4m3(x[i + 1]).bits << 8);
    want_e5m2.push_back(to_float8_e5m2(x[i]).bits | to_float8_e5m2(x[i + 1]).bits << 8);
  }
  suite.expect_equal(f16.to_host(), want_f16);
  suite.expect_equal(bf16.to_host(), want_bf16);
  suite.expect_equal(e4m3.to_host(), want_e4m3);
  suite.expect_equal(e5m2.to_host(), want_e5m2);
}

void test_functions(Suite& suite) {
  suite.begin("convert/fast functions stay within their stated errors");
  std::vector<float> x;
  for (int i = -4000; i < 4000; ++i) x.push_back(static_cast<float>(i) / 321.0f + 1e-3f);
  const DeviceArray<float> input(x);
  const size_t n = x.size();
  const DeviceArray<float> exp2(n), exp2_half(n), log2(n), reciprocal(n), tanh(n);
  apply<<<(n + 255) / 256, 256>>>(
      input.get(), static_cast<int>(n),
      {exp2.get(), exp2_half.get(), log2.get(), reciprocal.get(), tanh.get()});
  suite.synchronize();
  std::vector<double> want_exp2, want_exp2_half, want_log2, want_reciprocal, want_tanh;
  for (float v : x) {
    want_exp2.push_back(std::exp2(static_cast<double>(v)));
    want_exp2_half.push_back(std::exp2(static_cast<double>(to_float(to_float16(v)))));
    want_log2.push_back(v);
    want_reciprocal.push_back(1.0 / v);
    want_tanh.push_back(std::tanh(static_cast<double>(v)));
  }
  constexpr double kF32 = 0x1p-22, kF16 = 0x1p-9;
  suite.expect_near(exp2.to_host(), want_exp2, kF32, 0.0);
  suite.expect_near(exp2_half.to_host(), want_exp2_half, kF16, 0x1p-24);
  suite.expect_near(log2.to_host(), want_log2, kF32, 1e-6);
  suite.expect_near(reciprocal.to_host(), want_reciprocal, kF32, 0.0);
  suite.expect_near(tanh.to_host(), want_tanh, 0x1p-10, 0x1p-16);

  suite.begin("convert/2^-infinity is 0");
  const DeviceArray<float> edge(std::vector<float>{-std::numeric_limits<float>::infinity()});
  apply<<<1, 1>>>(edge.get(), 1,
                  {exp2.get(), exp2_half.get(), log2.get(), reciprocal.get(), tanh.get()});
  suite.synchronize();
  suite.expect(exp2.to_host()[0] == 0.0f && exp2_half.to_host()[0] == 0.0f, "not 0");
}

}  // namespace

void test_convert(Suite& suite) {
  test_expansion(suite);
  test_pairs(suite);
  test_fma_pairs(suite);
  test_integers(suite);
  test_packing(suite);
  test_functions(suite);
}

}  // namespace pagoda::testing
