#include "fma_chains.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pagoda::tools {
namespace {

// Independent chains: more than latency times throughput on any processor so far, few enough for
// 16 registers.
constexpr int kChains = 12;

// x * kFactor + kAddend comes near 1 from any start. Each chain starts elsewhere, or the compiler
// would see that all are the same.
constexpr float kFactor = 0.5f;
constexpr float kAddend = 0.5f;

constexpr int64_t flops_per_round(int lanes) {
  return int64_t{2} * kChains * lanes;
}

// The baseline's vectors. This file is compiled so that a product and a sum may fuse where the
// baseline has such an instruction, as on aarch64.
float run_baseline(int64_t num_rounds) {
  typedef float Vector __attribute__((vector_size(16)));
  Vector chains[kChains];
  for (int i = 0; i < kChains; ++i) chains[i] = Vector{} + static_cast<float>(i);
  for (int64_t round = 0; round < num_rounds; ++round) {
    for (Vector& x : chains) x = x * kFactor + kAddend;
  }
  float sum = 0.0f;
  for (const Vector& x : chains) sum += x[0] + x[1] + x[2] + x[3];
  return sum;
}

constexpr FmaChains kBaseline{"baseline", flops_per_round(4), run_baseline};

#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] float run_avx2(int64_t num_rounds) {
  const __m256 factor = _mm256_set1_ps(kFactor);
  const __m256 addend = _mm256_set1_ps(kAddend);
  __m256 chains[kChains];
  for (int i = 0; i < kChains; ++i) chains[i] = _mm256_set1_ps(static_cast<float>(i));
  for (int64_t round = 0; round < num_rounds; ++round) {
    for (__m256& x : chains) x = _mm256_fmadd_ps(x, factor, addend);
  }
  __m256 sum = _mm256_setzero_ps();
  for (const __m256& x : chains) sum = _mm256_add_ps(sum, x);
  return _mm256_cvtss_f32(sum);
}

[[gnu::target("avx512f")]] float run_avx512(int64_t num_rounds) {
  const __m512 factor = _mm512_set1_ps(kFactor);
  const __m512 addend = _mm512_set1_ps(kAddend);
  __m512 chains[kChains];
  for (int i = 0; i < kChains; ++i) chains[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t round = 0; round < num_rounds; ++round) {
    for (__m512& x : chains) x = _mm512_fmadd_ps(x, factor, addend);
  }
  __m512 sum = _mm512_setzero_ps();
  for (const __m512& x : chains) sum = _mm512_add_ps(sum, x);
  return _mm512_cvtss_f32(sum);
}

// The factor is the pair {0.5, 0}, the other operand {1, 0}: x + 0.5, over and over.
[[gnu::target("avx512f,avx512bf16")]] float run_bf16_dot(int64_t num_rounds) {
  const auto half = (__m512bh)_mm512_set1_epi32(0x00003f00);
  const auto one = (__m512bh)_mm512_set1_epi32(0x00003f80);
  __m512 chains[kChains];
  for (int i = 0; i < kChains; ++i) chains[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t round = 0; round < num_rounds; ++round) {
    for (__m512& x : chains) x = _mm512_dpbf16_ps(x, half, one);
  }
  __m512 sum = _mm512_setzero_ps();
  for (const __m512& x : chains) sum = _mm512_add_ps(sum, x);
  return _mm512_cvtss_f32(sum);
}

constexpr FmaChains kBf16Dot{"avx512_bf16", 2 * flops_per_round(16), run_bf16_dot};
constexpr FmaChains kAvx2{"avx2", flops_per_round(8), run_avx2};
constexpr FmaChains kAvx512{"avx512", flops_per_round(16), run_avx512};
#endif

}  // namespace

const FmaChains& widest_fma_chains() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return kAvx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kAvx2;
#endif
  return kBaseline;
}

const FmaChains* bf16_dot_chains() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bf16")) return &kBf16Dot;
#endif
  return nullptr;
}

}  // namespace pagoda::tools
