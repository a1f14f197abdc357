/* minimal.cc in C: one serving step over a paged KV cache in one call, the 5 tokens of a new prompt
 * and the next token of a sequence that is then 40 tokens long. Prints a line for each token. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "pagoda/c_api.h"

enum { kTokens = 6, kSeqs = 2, kQHeads = 8, kKvHeads = 2, kHeadDim = 64 };
enum { kPages = 8, kPageSize = 16, kTableColumns = 3, kAlign = 64 };

static float q[kTokens * kQHeads * kHeadDim], out[kTokens * kQHeads * kHeadDim];
static float k[kTokens * kKvHeads * kHeadDim], v[kTokens * kKvHeads * kHeadDim];
static float k_pages[kPages * kPageSize * kKvHeads * kHeadDim];
static float v_pages[kPages * kPageSize * kKvHeads * kHeadDim];

/* Sequence 0 lives in page 3; sequence 1 in pages 6, 1 and 4. The -1 are never read. */
static const int32_t block_table[kSeqs][kTableColumns] = {{3, -1, -1}, {6, 1, 4}};
static const int32_t cu_seqlens_q[kSeqs + 1] = {0, 5, 6};
static const int32_t seqused_k[kSeqs] = {5, 40};
/* page * page_size + offset */
static const int64_t slots[kTokens] = {48, 49, 50, 51, 52, 4 * kPageSize + 7};

static PagodaTensor view(const void* data, PagodaDType dtype, int32_t rank, const int64_t* shape) {
  const PagodaDevice cpu = {PAGODA_CPU, 0};
  return pagoda_contiguous(data, dtype, rank, shape, cpu);
}

/* Stands in for what a model computes. */
static void make_up(float* data, size_t count) {
  for (size_t i = 0; i < count; ++i) data[i] = (float)(i * 37 % 101) / 50.0f - 1.0f;
}

static PagodaStatus write_new_tokens(void) {
  const int64_t rows[] = {kTokens, kKvHeads, kHeadDim};
  const int64_t pages[] = {kPages, kPageSize, kKvHeads, kHeadDim};
  const int64_t tokens[] = {kTokens};
  PagodaWriteKvCache args;
  pagoda_write_kv_cache_init(&args);
  args.k = view(k, PAGODA_FLOAT32, 3, rows);
  args.v = view(v, PAGODA_FLOAT32, 3, rows);
  args.k_pages = view(k_pages, PAGODA_FLOAT32, 4, pages);
  args.v_pages = view(v_pages, PAGODA_FLOAT32, 4, pages);
  args.slot_mapping = view(slots, PAGODA_INT64, 1, tokens);
  return pagoda_write_kv_cache(&args, NULL);
}

static PagodaStatus attend(void) {
  const int64_t rows[] = {kTokens, kQHeads, kHeadDim};
  const int64_t pages[] = {kPages, kPageSize, kKvHeads, kHeadDim};
  const int64_t table[] = {kSeqs, kTableColumns};
  const int64_t seqs[] = {kSeqs}, seqs_plus_one[] = {kSeqs + 1};
  PagodaProblem problem;
  pagoda_problem_init(&problem);
  problem.q = view(q, PAGODA_FLOAT32, 3, rows);
  problem.out = view(out, PAGODA_FLOAT32, 3, rows);
  problem.k_pages = view(k_pages, PAGODA_FLOAT32, 4, pages);
  problem.v_pages = view(v_pages, PAGODA_FLOAT32, 4, pages);
  problem.block_table = view(block_table, PAGODA_INT32, 2, table);
  problem.cu_seqlens_q = view(cu_seqlens_q, PAGODA_INT32, 1, seqs_plus_one);
  problem.seqused_k = view(seqused_k, PAGODA_INT32, 1, seqs);

  /* Enough for every step within the limits: an engine allocates it once. */
  PagodaLimits limits;
  PagodaWorkspace workspace = {NULL, 0};
  pagoda_limits_init(&limits);
  PagodaStatus status = pagoda_limits_of(&problem, NULL, &limits);
  if (status == PAGODA_OK) status = pagoda_workspace_size(&limits, &workspace.bytes);
  if (status != PAGODA_OK) return status;
  void* memory = malloc(workspace.bytes + kAlign);
  if (memory == NULL) return PAGODA_INTERNAL;
  workspace.data = (void*)(((uintptr_t)memory + kAlign - 1) / kAlign * kAlign);
  status = pagoda_unified_attention(&problem, workspace, NULL);
  free(memory);
  return status;
}

int main(void) {
  make_up(q, sizeof(q) / sizeof(q[0]));
  make_up(k, sizeof(k) / sizeof(k[0]));
  make_up(v, sizeof(v) / sizeof(v[0]));
  make_up(k_pages, sizeof(k_pages) / sizeof(k_pages[0]));
  make_up(v_pages, sizeof(v_pages) / sizeof(v_pages[0]));

  PagodaStatus status = write_new_tokens();
  if (status == PAGODA_OK) status = attend();
  if (status != PAGODA_OK) {
    fprintf(stderr, "%s: %s\n", pagoda_status_name(status), pagoda_last_error());
    return 1;
  }
  for (int token = 0; token < kTokens; ++token) {
    const float* row = &out[token * kQHeads * kHeadDim];
    printf("token %d, head 0: %8.5f %8.5f %8.5f ...\n", token, row[0], row[1], row[2]);
  }
  return 0;
}
