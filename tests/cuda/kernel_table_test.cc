// What the compiled kernels take of an SM, as their tables say: it must fit. Needs no GPU.
#include <gtest/gtest.h>

#include <cstdio>

#include "core/checks.h"
#include "cuda/kernels/attention/launch.h"
#include "cuda/kernels/prefill/launch.h"
#include "cuda/kernels/work.h"

namespace pagoda::cuda {
namespace {

// sm_90, "Compute Capabilities" of the CUDA C++ Programming Guide.
constexpr int32_t kSmemOfSm = 228 * 1024;
constexpr int32_t kSmemReserved = 1024;  // of each CTA
constexpr int32_t kThreadsOfSm = 2048;

void expect_fits(int32_t ctas_per_sm, int32_t threads, int32_t smem_bytes) {
  EXPECT_LE(ctas_per_sm * (smem_bytes + kSmemReserved), kSmemOfSm);
  EXPECT_LE(ctas_per_sm * threads, kThreadsOfSm);
  EXPECT_GT(threads, 0);
}

TEST(KernelTable, AttentionKernelsFitAsOftenAsTheySay) {
  for (const AttentionKernel* kernel : attention_kernels()) {
    std::printf("%s head_dim<=%d%s: %d threads, %d bytes of shared memory, %d CTAs an SM\n",
                dtype_name(kernel->kv_dtype).c_str(), kernel->head_dim,
                kernel->plain ? ", plain" : "", kernel->threads, kernel->smem_bytes,
                kernel->ctas_per_sm);
    expect_fits(kernel->ctas_per_sm, kernel->threads, kernel->smem_bytes);
    EXPECT_EQ(find_attention_kernel(kernel->kv_dtype, kernel->head_dim, kernel->plain), kernel);
  }
}

TEST(KernelTable, PrefillKernelsFit) {
  for (const PrefillKernel* kernel : prefill_kernels()) {
    const char* kv = kernel->token_scales ? " from 8 bits with scales"
                     : kernel->converts   ? " from 8 bits"
                                          : "";
    std::printf("%s%s head_dim<=%d%s, prefill: %d threads, %d bytes of shared memory\n",
                dtype_name(kernel->dtype).c_str(), kv, kernel->head_dim,
                kernel->soft_cap ? ", soft cap" : "", kernel->threads, kernel->smem_bytes);
    expect_fits(1, kernel->threads, kernel->smem_bytes);
    const DType kv_dtype = kernel->converts ? DType::kFloat8E5M2 : kernel->dtype;
    const PrefillNeeds needs{.q_dtype = kernel->dtype,
                             .kv_dtype = kv_dtype,
                             .token_scales = kernel->token_scales,
                             .head_dim = kernel->head_dim,
                             .soft_cap = kernel->soft_cap};
    EXPECT_EQ(find_prefill_kernel(needs), kernel);
  }
}

TEST(KernelTable, SmallerHeadDimsTakeTheNextKernel) {
  for (const AttentionKernel* kernel : attention_kernels()) {
    EXPECT_EQ(find_attention_kernel(kernel->kv_dtype, kernel->head_dim - 8, kernel->plain), kernel);
  }
}

TEST(KernelTable, LargerHeadDimsHaveNone) {
  EXPECT_EQ(find_attention_kernel(DType::kBFloat16, 264, true), nullptr);
  EXPECT_EQ(find_prefill_kernel({.q_dtype = DType::kBFloat16,
                                 .kv_dtype = DType::kBFloat16,
                                 .token_scales = false,
                                 .head_dim = 264,
                                 .soft_cap = false}),
            nullptr);
  EXPECT_EQ(find_attention_kernel(DType::kFloat32, 64, true), nullptr);
}

}  // namespace
}  // namespace pagoda::cuda
