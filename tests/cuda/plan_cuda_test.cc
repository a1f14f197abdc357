// The device's plan is the host's, item by item; and a captured call works for other lengths.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "cases.h"
#include "cuda/device_problem.h"
#include "cuda/kernels/plan.h"
#include "pagoda/attention.h"
#include "plan/kv_conversion.h"
#include "random_plan.h"

namespace pagoda::testing {
namespace {

#define SKIP_WITHOUT_GPU()                                                 \
  int num_devices = 0;                                                     \
  if (cudaGetDeviceCount(&num_devices) != cudaSuccess || num_devices == 0) \
  GTEST_SKIP() << "no "                                                    \
                  "GPU"

template <class T>
std::vector<T> fetch(const T* device, int64_t count) {
  std::vector<T> host(static_cast<size_t>(count));
  EXPECT_EQ(cudaMemcpy(host.data(), device, host.size() * sizeof(T), cudaMemcpyDeviceToHost),
            cudaSuccess);
  return host;
}

template <class T>
T* allocate(std::vector<DeviceBuffer>* buffers, int64_t count) {
  buffers->emplace_back(static_cast<size_t>(count) * sizeof(T));
  return static_cast<T*>(buffers->back().data());
}

void expect_same_plan(const PlanConfig& config, const RandomBatch& batch) {
  const AttentionParams& params = batch.params;
  const HostLine host(config, params);

  const ShareLimits limits =
      share_limits(config, params.num_tokens, params.num_seqs, 1 << 20, params.group);
  std::vector<DeviceBuffer> buffers;
  cuda::Works works{.of = {}, .count = 1};
  cuda::Work& work = works.of[0];
  work.config = config;
  work.queue = allocate<cuda::UnitQueue>(&buffers, 1);
  work.bounds = allocate<ShareBound>(&buffers, config.num_workers + 1);
  work.tile_begin = allocate<int32_t>(&buffers, params.num_seqs + 1);
  work.cost_begin = allocate<int64_t>(&buffers, limits.max_tiles + 1);
  AttentionParams on_device = params;
  auto* cu_seqlens_q = allocate<int32_t>(&buffers, params.num_seqs + 1);
  auto* seqused_k = allocate<int32_t>(&buffers, params.num_seqs);
  cudaMemcpy(cu_seqlens_q, params.cu_seqlens_q, sizeof(int32_t) * batch.cu_seqlens_q.size(),
             cudaMemcpyHostToDevice);
  cudaMemcpy(seqused_k, params.seqused_k, sizeof(int32_t) * batch.seqused_k.size(),
             cudaMemcpyHostToDevice);
  on_device.cu_seqlens_q = cu_seqlens_q;
  on_device.seqused_k = seqused_k;
  ASSERT_EQ(cuda::launch_plan_kernel(on_device, works, nullptr), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);

  const auto bounds = fetch(work.bounds, config.num_workers + 1);
  for (int32_t w = 0; w <= config.num_workers; ++w) {
    const ShareBound bound = share_bound(config, params, host.line(), host.share, w);
    EXPECT_EQ(std::memcmp(&bounds[static_cast<size_t>(w)], &bound, sizeof(ShareBound)), 0)
        << "bound " << w;
  }
}

TEST(PlanCuda, EqualsTheHostsPlan) {
  SKIP_WITHOUT_GPU();
  std::mt19937 random(11);
  for (int num_seqs : {1, 2, 7, 64, 500, 1024, 3000}) {
    for (SplitPolicy policy : {SplitPolicy::kBalanced, SplitPolicy::kFixed}) {
      const bool fixed = policy == SplitPolicy::kFixed;
      const PlanConfig config{.routes = {{64, 1, 64}, {64, 1, 64}},
                              .few_rows_max = fixed ? 0 : 64,
                              .num_workers = 264,
                              .min_share = fixed ? 1024 + kItemCost : 256,
                              .policy = policy,
                              .fixed_split_keys = 1024};
      expect_same_plan(config, RandomBatch(&random, {num_seqs, 700, 20000}));
      if (HasFailure()) FAIL() << num_seqs << " sequences";
    }
  }
}

// One capture of plan and attention, replayed with other lengths in the same buffers.
TEST(GraphCuda, ReplaysWithOtherLengths) {
  SKIP_WITHOUT_GPU();
  Case c;
  c.seqs = {{1, 700}, {40, 300}, {1, 2000}, {3, 3}};
  c.num_q_heads = 8;
  c.head_dim = 128;
  BuiltCase built(c);
  DeviceProblem device(built.problem());
  size_t bytes = 0;
  AttentionLimits limits = limits_of(device.problem());
  ASSERT_TRUE(workspace_size(limits, &bytes).ok());
  const DeviceBuffer workspace(bytes);
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  const Execution execution{.stream = stream};
  Plan step;
  // Once outside: functions are loaded lazily.
  ASSERT_TRUE(plan(device.problem(), {workspace.data(), bytes}, execution, &step).ok());
  ASSERT_TRUE(attention(device.problem(), step, execution).ok());
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  cudaGraph_t graph;
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  EXPECT_TRUE(plan(device.problem(), {workspace.data(), bytes}, execution, &step).ok());
  for (int layer = 0; layer < 3; ++layer) {
    EXPECT_TRUE(attention(device.problem(), step, execution).ok());
  }
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  cudaGraphExec_t replay;
  ASSERT_EQ(cudaGraphInstantiate(&replay, graph, 0), cudaSuccess);

  auto* seqused_k = static_cast<int32_t*>(built.problem().seqused_k.data);
  for (const std::vector<int32_t>& lengths :
       {std::vector<int32_t>{700, 300, 2000, 3}, {1, 40, 64, 3}, {650, 299, 1999, 3}}) {
    std::copy(lengths.begin(), lengths.end(), seqused_k);
    built.poison_outputs();
    device.upload();
    ASSERT_EQ(cudaGraphLaunch(replay, stream), cudaSuccess);
    ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    device.fetch_outputs();
    const Verdict verdict = verify(built);
    EXPECT_TRUE(verdict.ok) << verdict.message;
  }
  cudaGraphExecDestroy(replay);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

TEST(EmptyCuda, AStepWithoutTokensComputesNothing) {
  SKIP_WITHOUT_GPU();
  Case c;
  c.seqs = {{0, 70}, {0, 0}};
  BuiltCase built(c);
  DeviceProblem device(built.problem());
  AttentionProblem problem = device.problem();
  problem.q.data = problem.out.data = nullptr;
  size_t bytes = 0;
  ASSERT_TRUE(workspace_size(limits_of(problem), &bytes).ok());
  const DeviceBuffer workspace(bytes);
  const Status status = unified_attention(problem, {workspace.data(), bytes});
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

// Of two prompts whose K and V are converted if there is room: neither, the first, both.
TEST(WorkspaceCuda, Fp8IsConvertedAsFarAsThereIsRoom) {
  SKIP_WITHOUT_GPU();
  Case c{.seqs = {{64, 300}, {5, 90}, {70, 129}},
         .num_q_heads = 32,
         .num_kv_heads = 1,
         .head_dim = 128,
         .kv_dtype = DType::kFloat8E4M3};
  BuiltCase built(c);
  DeviceProblem device(built.problem());
  AttentionLimits limits = limits_of(device.problem());
  size_t most = 0;
  ASSERT_TRUE(workspace_size(limits, &most).ok());
  limits.kv_dtype = DType::kBFloat16;
  size_t least = 0;
  ASSERT_TRUE(workspace_size(limits, &least).ok());
  const size_t tile = static_cast<size_t>(converted_tile_bytes(c.num_kv_heads, c.head_dim));
  ASSERT_GE(most, least + 5 * tile);
  const DeviceBuffer workspace(most);
  for (const size_t bytes : {least, least + 3 * tile, most}) {
    SCOPED_TRACE(::testing::Message() << bytes << " bytes");
    built.poison_outputs();
    DeviceProblem again(built.problem());
    ASSERT_EQ(cudaMemset(workspace.data(), 0xff, most), cudaSuccess);
    const Status status = unified_attention(again.problem(), {workspace.data(), bytes});
    ASSERT_TRUE(status.ok()) << status.message();
    again.fetch_outputs();
    const Verdict verdict = verify(built);
    EXPECT_TRUE(verdict.ok) << verdict.message;
  }
}

TEST(RepeatCuda, SameCallSameBits) {
  SKIP_WITHOUT_GPU();
  Case c;
  c.seqs = {{1, 5000}, {130, 900}, {4, 8000}};
  c.num_q_heads = 8;
  c.head_dim = 128;
  BuiltCase built(c);
  DeviceProblem device(built.problem());
  size_t bytes = 0;
  ASSERT_TRUE(workspace_size(limits_of(device.problem()), &bytes).ok());
  const DeviceBuffer workspace(bytes);
  const auto* out = static_cast<const char*>(built.problem().out.data);
  const size_t out_bytes =
      static_cast<size_t>(built.problem().out.shape[0] * built.problem().out.stride[0]) * 2;
  std::vector<char> first;
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(unified_attention(device.problem(), {workspace.data(), bytes}).ok());
    device.fetch_outputs();
    std::vector<char> now(out, out + out_bytes - 2 * built.problem().out.stride[0]);
    if (i == 0) first = now;
    EXPECT_EQ(first, now) << "repetition " << i;
  }
}

}  // namespace
}  // namespace pagoda::testing
