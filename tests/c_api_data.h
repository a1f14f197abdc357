/* A small attention problem in C, and what its outputs have to be. */
#ifndef PAGODA_TESTS_C_API_DATA_H_
#define PAGODA_TESTS_C_API_DATA_H_

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "pagoda/c_api.h"

static int failures = 0;

#define CHECK(condition)                                                             \
  do {                                                                               \
    if (!(condition)) {                                                              \
      printf("%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__, #condition, \
             pagoda_last_error());                                                   \
      ++failures;                                                                    \
    }                                                                                \
  } while (0)

/* Two sequences: 3 of 7 and 1 of 5 tokens are new. 4 query heads on 2 KV heads. */
enum { kTokens = 4, kSeqs = 2, kQHeads = 4, kKvHeads = 2, kGroup = 2, kHeadDim = 8 };
enum { kPages = 6, kPageSize = 4, kMaxPages = 2, kKeys = 7 + 5 };
enum { kOutSize = kTokens * kQHeads * kHeadDim, kRowSize = kKvHeads * kHeadDim };
enum { kPagesSize = kPages * kPageSize * kRowSize };

static const int32_t block_table[kSeqs][kMaxPages] = {{4, 1}, {2, 5}};
static const int32_t cu_seqlens_q[kSeqs + 1] = {0, 3, 4};
static const int32_t seqused_k[kSeqs] = {7, 5};
static const int32_t cu_seqlens_k[kSeqs + 1] = {0, 7, 12};

static float q[kOutSize], out[kOutSize], lse[kTokens * kQHeads];
static float k[kKeys * kRowSize], v[kKeys * kRowSize];
static float k_pages[kPagesSize], v_pages[kPagesSize];
static int64_t slots[kKeys];

static PagodaTensor view(const void* data, PagodaDType dtype, int32_t rank, int64_t a, int64_t b,
                         int64_t c, int64_t d) {
  const PagodaDevice cpu = {PAGODA_CPU, 0};
  const int64_t shape[4] = {a, b, c, d};
  return pagoda_contiguous(data, dtype, rank, shape, cpu);
}

static PagodaTensor pages_view(const float* pages) {
  return view(pages, PAGODA_FLOAT32, 4, kPages, kPageSize, kKvHeads, kHeadDim);
}

static void make_data(void) {
  for (int i = 0; i < kOutSize; ++i) q[i] = (float)(i * 29 % 23) / 11.0f - 1.0f;
  for (int i = 0; i < kKeys * kRowSize; ++i) {
    k[i] = (float)(i * 37 % 31) / 15.0f - 1.0f;
    v[i] = (float)(i * 41 % 19) / 9.0f - 1.0f;
  }
  for (int seq = 0; seq < kSeqs; ++seq) {
    for (int t = 0; t < seqused_k[seq]; ++t) {
      slots[cu_seqlens_k[seq] + t] = block_table[seq][t / kPageSize] * kPageSize + t % kPageSize;
    }
  }
}

static PagodaProblem make_problem(void) {
  PagodaProblem problem;
  pagoda_problem_init(&problem);
  problem.q = view(q, PAGODA_FLOAT32, 3, kTokens, kQHeads, kHeadDim, 0);
  problem.out = view(out, PAGODA_FLOAT32, 3, kTokens, kQHeads, kHeadDim, 0);
  problem.lse = view(lse, PAGODA_FLOAT32, 2, kTokens, kQHeads, 0, 0);
  problem.lse_layout = PAGODA_LSE_TOKENS_HEADS;
  problem.k_pages = pages_view(k_pages);
  problem.v_pages = pages_view(v_pages);
  problem.block_table = view(block_table, PAGODA_INT32, 2, kSeqs, kMaxPages, 0, 0);
  problem.cu_seqlens_q = view(cu_seqlens_q, PAGODA_INT32, 1, kSeqs + 1, 0, 0, 0);
  problem.seqused_k = view(seqused_k, PAGODA_INT32, 1, kSeqs, 0, 0, 0);
  return problem;
}

/* One row of attention over keys [0, num_keys) of a sequence, straight from k and v. */
static void naive_row(const float* q_row, int first_key, int num_keys, int kv_head, double* row,
                      double* row_lse) {
  double sum = 0.0;
  for (int d = 0; d < kHeadDim; ++d) row[d] = 0.0;
  for (int t = 0; t < num_keys; ++t) {
    const size_t at = (size_t)(first_key + t) * kRowSize + (size_t)kv_head * kHeadDim;
    double dot = 0.0;
    for (int d = 0; d < kHeadDim; ++d) dot += (double)q_row[d] * k[at + (size_t)d];
    const double weight = exp(dot / sqrt((double)kHeadDim));
    sum += weight;
    for (int d = 0; d < kHeadDim; ++d) row[d] += weight * v[at + (size_t)d];
  }
  for (int d = 0; d < kHeadDim; ++d) row[d] /= sum;
  *row_lse = log(sum);
}

/* Compares out and lse with causal attention. NaN is no match. */
static void check_outputs(void) {
  int mismatches = 0;
  for (int seq = 0; seq < kSeqs; ++seq) {
    for (int token = cu_seqlens_q[seq]; token < cu_seqlens_q[seq + 1]; ++token) {
      const int num_keys = seqused_k[seq] - (cu_seqlens_q[seq + 1] - 1 - token);
      for (int head = 0; head < kQHeads; ++head) {
        const int at = token * kQHeads + head;
        double row[kHeadDim], row_lse;
        naive_row(q + at * kHeadDim, cu_seqlens_k[seq], num_keys, head / kGroup, row, &row_lse);
        mismatches += !(fabs(row_lse - lse[at]) < 1e-5);
        for (int d = 0; d < kHeadDim; ++d) {
          mismatches += !(fabs(row[d] - out[at * kHeadDim + d]) < 1e-5);
        }
      }
    }
  }
  CHECK(mismatches == 0);
}

static void spoil_outputs(void) {
  memset(out, 0xff, sizeof(out));
  memset(lse, 0xff, sizeof(lse));
}

#endif /* PAGODA_TESTS_C_API_DATA_H_ */
