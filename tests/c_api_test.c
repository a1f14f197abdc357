/* The C API from plain C: attention against a naive double loop, errors, struct sizes, KV-cache
 * operations, the caller's thread pool, and last errors of threads. */
#include <pthread.h>
#include <stdlib.h>

#include "c_api_data.h"

/* Workspace for `problem`; the caller frees *memory. */
static PagodaWorkspace make_workspace(const PagodaProblem* problem, void** memory) {
  PagodaLimits limits;
  PagodaWorkspace workspace = {NULL, 0};
  pagoda_limits_init(&limits);
  CHECK(pagoda_limits_of(problem, NULL, &limits) == PAGODA_OK);
  CHECK(limits.max_num_tokens == kTokens && limits.max_num_seqs == kSeqs);
  CHECK(limits.max_seqlen_k == kMaxPages * kPageSize && limits.head_dim == kHeadDim);
  CHECK(pagoda_workspace_size(&limits, &workspace.bytes) == PAGODA_OK);
  CHECK(workspace.bytes > 0);
  *memory = malloc(workspace.bytes + 64);
  workspace.data = (void*)(((uintptr_t)*memory + 63) / 64 * 64);
  return workspace;
}

static void test_defaults(void) {
  PagodaProblem problem;
  memset(&problem, 0xff, sizeof(problem));
  pagoda_problem_init(&problem);
  CHECK(problem.struct_size == sizeof(problem));
  CHECK(problem.causal == 1 && problem.window_left == -1 && problem.window_right == -1);
  CHECK(problem.prefix_window_left == -1 && problem.chunk_size == 0 && problem.checked == 0);
  CHECK(problem.q.data == NULL && problem.softmax_scale == 0.0f);
  CHECK(strcmp(pagoda_status_name(PAGODA_OK), "ok") == 0);
  CHECK(strcmp(pagoda_status_name(PAGODA_INVALID_CONTENTS), "invalid contents") == 0);
  CHECK(strcmp(pagoda_status_name(99), "unknown status") == 0);
  CHECK(strchr(pagoda_version(), '.') != NULL);
}

static void test_make_kv_cache(void) {
  PagodaMakeKvCache args;
  PagodaKvCache cache;
  pagoda_make_kv_cache_init(&args);
  CHECK(args.page_size == 64 && args.dtype == PAGODA_BFLOAT16 && args.layout == PAGODA_HND);
  memset(&cache, 0, sizeof(cache));
  CHECK(pagoda_make_kv_cache(&args, &cache) == PAGODA_INVALID_ARGUMENT);
  CHECK(strstr(pagoda_last_error(), "num_pages: got 0, wants ") != NULL);
  CHECK(cache.memory == NULL);
  args.num_pages = kPages;
  args.page_size = kPageSize;
  args.num_kv_heads = kKvHeads;
  args.head_dim = kHeadDim;
  args.dtype = PAGODA_INT8;
  CHECK(pagoda_make_kv_cache(&args, NULL) == PAGODA_INVALID_ARGUMENT);
  CHECK(pagoda_make_kv_cache(&args, &cache) == PAGODA_OK);
  // One huge page, and the three between K and V.
  CHECK((uintptr_t)cache.memory % (2 << 20) == 0 && cache.bytes == 8 << 20);
  CHECK(cache.k_pages.data == cache.memory && cache.k_pages.rank == 4);
  CHECK(cache.k_pages.shape[1] == kPageSize && cache.k_pages.stride[2] == kPageSize * kHeadDim);
  CHECK(cache.v_token_scale.dtype == PAGODA_FLOAT32 && cache.v_token_scale.shape[2] == kKvHeads);
  memset(cache.memory, 1, cache.bytes);
  pagoda_free_kv_cache(&cache);
  CHECK(cache.memory == NULL && cache.k_pages.data == NULL && cache.bytes == 0);
  pagoda_free_kv_cache(&cache);
  pagoda_free_kv_cache(NULL);
}

static void test_write_and_gather(void) {
  PagodaWriteKvCache write;
  PagodaGatherKvCache gather;
  static float k_rows[kKeys * kRowSize], v_rows[kKeys * kRowSize];
  pagoda_write_kv_cache_init(&write);
  write.k = view(k, PAGODA_FLOAT32, 3, kKeys, kKvHeads, kHeadDim, 0);
  write.v = view(v, PAGODA_FLOAT32, 3, kKeys, kKvHeads, kHeadDim, 0);
  write.k_pages = pages_view(k_pages);
  write.v_pages = pages_view(v_pages);
  write.slot_mapping = view(slots, PAGODA_INT64, 1, kKeys, 0, 0, 0);
  write.checked = 1;
  CHECK(pagoda_write_kv_cache(&write, NULL) == PAGODA_OK);

  pagoda_gather_kv_cache_init(&gather);
  gather.k_pages = pages_view(k_pages);
  gather.v_pages = pages_view(v_pages);
  gather.block_table = view(block_table, PAGODA_INT32, 2, kSeqs, kMaxPages, 0, 0);
  gather.cu_seqlens_k = view(cu_seqlens_k, PAGODA_INT32, 1, kSeqs + 1, 0, 0, 0);
  gather.k_out = view(k_rows, PAGODA_FLOAT32, 3, kKeys, kKvHeads, kHeadDim, 0);
  gather.v_out = view(v_rows, PAGODA_FLOAT32, 3, kKeys, kKvHeads, kHeadDim, 0);
  CHECK(pagoda_gather_kv_cache(&gather, NULL) == PAGODA_OK);
  CHECK(memcmp(k_rows, k, sizeof(k)) == 0 && memcmp(v_rows, v, sizeof(v)) == 0);

  slots[0] += kPages * kPageSize;
  CHECK(pagoda_write_kv_cache(&write, NULL) == PAGODA_INVALID_CONTENTS);
  CHECK(strstr(pagoda_last_error(), "slot_mapping: out of range at (token 0, value ") != NULL);
  slots[0] -= kPages * kPageSize;
}

static void test_copy_and_swap(void) {
  static float copies[kPagesSize];
  const int64_t pairs[2][2] = {{4, 0}, {1, 5}};
  const size_t page = kPageSize * kRowSize;
  PagodaCopyPages copy;
  pagoda_copy_pages_init(&copy);
  copy.source = pages_view(k_pages);
  copy.destination = pages_view(copies);
  copy.page_pairs = view(pairs, PAGODA_INT64, 2, 2, 2, 0, 0);
  CHECK(pagoda_copy_pages(&copy, NULL) == PAGODA_OK);
  CHECK(memcmp(copies, k_pages + 4 * page, page * sizeof(float)) == 0);
  CHECK(memcmp(copies + 5 * page, k_pages + page, page * sizeof(float)) == 0);
  memset(copies, 0, sizeof(copies));
  CHECK(pagoda_swap_pages(&copy, NULL) == PAGODA_OK);
  CHECK(memcmp(copies, k_pages + 4 * page, page * sizeof(float)) == 0);
}

static void test_plan_and_attention(void) {
  PagodaProblem problem = make_problem();
  PagodaPlan plan;
  PagodaExplanation explanation;
  void* memory;
  PagodaWorkspace workspace = make_workspace(&problem, &memory);
  CHECK(pagoda_supported(&problem) == PAGODA_OK);
  spoil_outputs();
  CHECK(pagoda_plan(&problem, workspace, NULL, &plan) == PAGODA_OK);
  CHECK(pagoda_attention(&problem, &plan, NULL) == PAGODA_OK);
  CHECK(strcmp(pagoda_last_error(), "") == 0);
  check_outputs();

  pagoda_explanation_init(&explanation);
  CHECK(pagoda_explain(&problem, &plan, &explanation) == PAGODA_OK);
  CHECK(explanation.struct_size == sizeof(explanation));
  CHECK(strcmp(explanation.backend, "cpu") == 0 && strlen(explanation.kernel) > 0);
  CHECK(strstr(explanation.text, "backend: cpu\n") != NULL);
  CHECK(explanation.num_items > 0);
  CHECK(explanation.num_workers > 0);
  CHECK(explanation.kv_bytes == 2 * kKeys * kRowSize * 4);
  CHECK(explanation.roof_seconds == 0.0 && explanation.predicted_seconds == 0.0);
  CHECK(explanation.flops == 4 * kHeadDim * kQHeads * (5 + 6 + 7 + 5));

  spoil_outputs();
  CHECK(pagoda_unified_attention(&problem, workspace, NULL) == PAGODA_OK);
  check_outputs();
  workspace.bytes = 1;
  CHECK(pagoda_plan(&problem, workspace, NULL, &plan) == PAGODA_WORKSPACE_TOO_SMALL);
  free(memory);
}

/* A pool of one worker that runs its tasks last to first. */
static void run_backwards(void* pool, int64_t num_tasks, PagodaParallelTask task, void* context) {
  *(int64_t*)pool += num_tasks;
  for (int64_t i = num_tasks - 1; i >= 0; --i) task(context, i, 0);
}

static void test_own_pool(void) {
  int64_t tasks = 0;
  const PagodaParallelFor pool = {run_backwards, &tasks, 1};
  PagodaProblem problem = make_problem();
  PagodaExecution execution;
  PagodaExplanation explanation;
  PagodaPlan plan;
  void* memory;
  const PagodaWorkspace workspace = make_workspace(&problem, &memory);
  pagoda_execution_init(&execution);
  execution.parallel_for = &pool;
  spoil_outputs();
  CHECK(pagoda_unified_attention(&problem, workspace, &execution) == PAGODA_OK);
  check_outputs();
  CHECK(tasks > 0);
  CHECK(pagoda_plan(&problem, workspace, &execution, &plan) == PAGODA_OK);
  pagoda_explanation_init(&explanation);
  CHECK(pagoda_explain(&problem, &plan, &explanation) == PAGODA_OK);
  CHECK(explanation.num_workers == pool.num_workers);
  execution.struct_size = 1;
  CHECK(pagoda_unified_attention(&problem, workspace, &execution) == PAGODA_INVALID_ARGUMENT);
  free(memory);
}

static void test_merge(void) {
  static float merged_out[kOutSize], merged_lse[kTokens * kQHeads];
  const PagodaProblem problem = make_problem();
  const PagodaState states[2] = {{problem.out, problem.lse}, {problem.out, problem.lse}};
  PagodaState merged = states[0];
  merged.out.data = merged_out;
  merged.lse.data = merged_lse;
  CHECK(pagoda_merge_states(states, 2, &merged, PAGODA_LSE_TOKENS_HEADS, NULL) == PAGODA_OK);
  CHECK(fabsf(merged_out[5] - out[5]) < 1e-6f);
  CHECK(fabs(merged_lse[3] - lse[3] - log(2.0)) < 1e-6);
  CHECK(pagoda_merge_states(states, 0, &merged, PAGODA_LSE_TOKENS_HEADS, NULL) != PAGODA_OK);
  CHECK(strstr(pagoda_last_error(), "num_states: got 0") != NULL);
  CHECK(pagoda_merge_states(NULL, 2, &merged, PAGODA_LSE_TOKENS_HEADS, NULL) != PAGODA_OK);
  CHECK(pagoda_merge_states(states, 2, NULL, PAGODA_LSE_TOKENS_HEADS, NULL) != PAGODA_OK);
}

static void test_errors(void) {
  const PagodaWorkspace none = {NULL, 0};
  PagodaProblem problem = make_problem();
  PagodaLimits limits;
  PagodaPlan plan;
  CHECK(pagoda_supported(NULL) == PAGODA_INVALID_ARGUMENT);
  CHECK(strcmp(pagoda_last_error(), "problem: got null, wants a pointer") == 0);
  CHECK(pagoda_plan(&problem, none, NULL, NULL) == PAGODA_INVALID_ARGUMENT);
  CHECK(strcmp(pagoda_last_error(), "plan: got null, wants a pointer") == 0);
  CHECK(pagoda_attention(&problem, NULL, NULL) == PAGODA_INVALID_ARGUMENT);
  CHECK(pagoda_explain(&problem, &plan, NULL) == PAGODA_INVALID_ARGUMENT);
  CHECK(pagoda_workspace_size(NULL, NULL) == PAGODA_INVALID_ARGUMENT);
  pagoda_limits_init(&limits);
  CHECK(pagoda_workspace_size(&limits, NULL) == PAGODA_INVALID_ARGUMENT);
  memset(&plan, 0, sizeof(plan));
  CHECK(pagoda_attention(&problem, &plan, NULL) == PAGODA_INVALID_ARGUMENT);

  spoil_outputs();
  problem.block_table.dtype = PAGODA_INT64;
  CHECK(pagoda_unified_attention(&problem, none, NULL) == PAGODA_INVALID_ARGUMENT);
  CHECK(strcmp(pagoda_last_error(),
               "block_table: got dtype int64, wants int32 [num_seqs=2, "
               "max_pages]; convert it to int32") == 0);
  for (size_t i = 0; i < sizeof(out); ++i) CHECK(((unsigned char*)out)[i] == 0xff);
}

static void test_struct_size(void) {
  PagodaProblem problem = make_problem();
  problem.struct_size = 0;
  CHECK(pagoda_supported(&problem) == PAGODA_INVALID_ARGUMENT);
  CHECK(strstr(pagoda_last_error(), "problem: got struct_size 0, wants ") != NULL);
  problem.struct_size = offsetof(PagodaProblem, checked);
  CHECK(pagoda_supported(&problem) == PAGODA_INVALID_ARGUMENT);
  problem.struct_size = offsetof(PagodaProblem, checked) + sizeof(int32_t);
  CHECK(pagoda_supported(&problem) == PAGODA_OK);
  problem.struct_size = sizeof(problem) + 8;
  CHECK(pagoda_supported(&problem) == PAGODA_INVALID_ARGUMENT);
  CHECK(strstr(pagoda_last_error(), "update the library") != NULL);
}

/* Its error must not be seen by the thread that started it. */
static void* fail_elsewhere(void* unused) {
  (void)unused;
  CHECK(strcmp(pagoda_last_error(), "") == 0);
  CHECK(pagoda_copy_pages(NULL, NULL) == PAGODA_INVALID_ARGUMENT);
  CHECK(strcmp(pagoda_last_error(), "args: got null, wants a pointer") == 0);
  return NULL;
}

static void test_threads(void) {
  pthread_t thread;
  CHECK(pagoda_supported(NULL) == PAGODA_INVALID_ARGUMENT);
  CHECK(pthread_create(&thread, NULL, fail_elsewhere, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(strcmp(pagoda_last_error(), "problem: got null, wants a pointer") == 0);
}

int main(void) {
  make_data();
  test_defaults();
  test_make_kv_cache();
  test_write_and_gather();
  test_copy_and_swap();
  test_plan_and_attention();
  test_own_pool();
  test_merge();
  test_errors();
  test_struct_size();
  test_threads();
  printf("c_api_test: %d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
