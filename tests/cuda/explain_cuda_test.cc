// What explain() says of a plan is what lies on the device.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cases.h"
#include "cuda/arena.h"
#include "cuda/device_problem.h"
#include "cuda/kernels/plan.h"
#include "cuda/planned_batch.h"
#include "pagoda/attention.h"
#include "random_plan.h"

namespace pagoda::testing {
namespace {

template <class T>
std::vector<T> to_host(const T* device, int64_t count) {
  std::vector<T> host(static_cast<size_t>(count));
  check(cudaMemcpy(host.data(), device, host.size() * sizeof(T), cudaMemcpyDeviceToHost),
        "copy to the host");
  return host;
}

template <class T>
DeviceBuffer to_device(const std::vector<T>& host) {
  DeviceBuffer buffer(std::max<size_t>(host.size(), 1) * sizeof(T));
  check(cudaMemcpy(buffer.data(), host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice),
        "copy to the device");
  return buffer;
}

void expect_on_device(const cuda::WorkSummary& summary, const cuda::Work& work) {
  const cuda::UnitQueue queue = to_host(work.queue, 1).front();
  EXPECT_EQ(queue.num_workers, summary.num_workers);
  EXPECT_EQ(queue.num_units, summary.queued ? summary.num_units : 0);
  if (summary.queued) return;
  const auto bounds = to_host(work.bounds, work.config.num_workers + 1);
  int64_t num_cut_units = 0;
  int32_t most_pieces = 1;
  for (size_t w = 0; w < bounds.size(); ++w) {
    if (bounds[w].first_worker + 1 != static_cast<int32_t>(w) || w == 0) continue;
    ++num_cut_units;
    most_pieces = std::max(most_pieces, bounds[w].num_pieces);
  }
  EXPECT_EQ(bounds.back().unit, summary.num_units);
  EXPECT_EQ(num_cut_units, summary.num_cut_units);
  EXPECT_EQ(most_pieces, summary.most_pieces);
}

void expect_plan_as_summarised(const AttentionParams& on_host,
                               const std::vector<int32_t>& cu_seqlens_q,
                               const std::vector<int32_t>& seqused_k) {
  size_t bytes = 0;
  layout_of(on_host, true, nullptr, &bytes);
  const DeviceBuffer workspace(bytes);
  const cuda::Works works = layout_of(on_host, true, workspace.data(), &bytes);
  const DeviceBuffer device_cu_seqlens_q = to_device(cu_seqlens_q);
  const DeviceBuffer device_seqused_k = to_device(seqused_k);
  AttentionParams params = on_host;
  params.cu_seqlens_q = static_cast<const int32_t*>(device_cu_seqlens_q.data());
  params.seqused_k = static_cast<const int32_t*>(device_seqused_k.data());
  ASSERT_EQ(cuda::launch_plan_kernel(params, works, nullptr), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const cuda::StepSummary step = cuda::summarise(works, on_host);
  ASSERT_EQ(step.count, works.count);
  for (int32_t i = 0; i < works.count; ++i) {
    SCOPED_TRACE(::testing::Message() << "kernel " << i);
    expect_on_device(step.of[is_prefill(works.of[i]) ? 1 : 0], works.of[i]);
  }
}

TEST(ExplainCuda, SummariesAreThoseOfTheDevicesPlan) {
  PAGODA_SKIP_WITHOUT_GPU();
  for (const std::vector<SameSequences>& sequences :
       {std::vector<SameSequences>{{63, 1, 4096}, {1, 1985, 1985}},
        {{64, 1, 4096}},
        {{1, 2048, 2048}},
        {{1, 256, 32768}},
        {{3000, 1, 700}, {4, 700, 900}}}) {
    const LengthBatch batch(sequences);
    SCOPED_TRACE(::testing::Message() << batch.params.num_tokens << " tokens");
    expect_plan_as_summarised(batch.params, batch.cu_seqlens_q, batch.seqused_k);
  }
  std::mt19937 random(31);
  for (int i = 0; i < 30; ++i) {
    RandomBatch batch(&random, {1 + 20 * i, 700, 1 << i % 15});
    batch.params.head_dim = 128;
    batch.params.max_seqlen_k = 1 << 16;
    SCOPED_TRACE(::testing::Message() << "random batch " << i);
    expect_plan_as_summarised(batch.params, batch.cu_seqlens_q, batch.seqused_k);
  }
}

struct PlannedStep {
  DeviceBuffer workspace;
  size_t bytes;
  Plan plan;

  explicit PlannedStep(const AttentionProblem& problem, cudaStream_t stream = nullptr)
      : PlannedStep(problem, workspace_bytes(problem), stream) {}

 private:
  PlannedStep(const AttentionProblem& problem, size_t size, cudaStream_t stream)
      : workspace(size), bytes(size) {
    const Status status =
        pagoda::plan(problem, {workspace.data(), bytes}, {.stream = stream}, &plan);
    EXPECT_TRUE(status.ok()) << status.message();
  }

  static size_t workspace_bytes(const AttentionProblem& problem) {
    size_t bytes = 0;
    EXPECT_TRUE(workspace_size(limits_of(problem), &bytes).ok());
    return bytes;
  }
};

Explanation explained_on_cpu(const AttentionProblem& problem) {
  size_t bytes = 0;
  EXPECT_TRUE(workspace_size(limits_of(problem), &bytes).ok());
  std::vector<std::byte> memory(bytes + 64);
  void* aligned = memory.data();
  size_t space = memory.size();
  std::align(64, bytes, aligned, space);
  Plan plan;
  Explanation explanation;
  EXPECT_TRUE(pagoda::plan(problem, {aligned, bytes}, {}, &plan).ok());
  EXPECT_TRUE(explain(problem, plan, &explanation).ok());
  return explanation;
}

Case mixed_case() {
  Case c;
  c.seqs = {{1, 700}, {140, 300}, {1, 2000}, {3, 3}, {0, 0}, {260, 1000}};
  c.num_q_heads = 8;
  c.head_dim = 128;
  return c;
}

// Every tensor that a mask has is read where it lies.
TEST(ExplainCuda, NeedsWhatTheCpuNeeds) {
  PAGODA_SKIP_WITHOUT_GPU();
  std::vector<Case> cases(7, mixed_case());
  cases[1].causal_per_seq = true;
  cases[2].prefix_window_left = 50;
  cases[3].tree = true;
  cases[4].num_ranges = 3;
  cases[5].window_left = 100;
  cases[6].split_policy = SplitPolicy::kFixed;
  for (const Case& c : cases) {
    SCOPED_TRACE(to_line(c));
    const BuiltCase built(c);
    const DeviceProblem device(built.problem());
    const PlannedStep step(device.problem());
    Explanation said;
    const Status status = explain(device.problem(), step.plan, &said);
    ASSERT_TRUE(status.ok()) << status.message();
    const Explanation on_cpu = explained_on_cpu(built.problem());
    EXPECT_EQ(said.kv_bytes, on_cpu.kv_bytes);
    EXPECT_EQ(said.flops, on_cpu.flops);
    EXPECT_EQ(said.backend, "cuda");
    EXPECT_GT(said.num_items, 0);
    EXPECT_GT(said.num_workers, 0);
    EXPECT_GE(said.num_items, said.num_splits);
    EXPECT_GT(said.roof_seconds, 0.0);
    EXPECT_GT(said.predicted_seconds, said.roof_seconds);
    EXPECT_NE(said.text.find("\npredicted time: "), std::string::npos) << said.text;
  }
}

TEST(ExplainCuda, WaitsForTheLengthsOfItsStream) {
  PAGODA_SKIP_WITHOUT_GPU();
  BuiltCase built(mixed_case());
  DeviceProblem device(built.problem());
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  const PlannedStep step(device.problem(), stream);
  Explanation said;
  ASSERT_TRUE(explain(device.problem(), step.plan, &said).ok());
  // Without keys there is nothing to read. A large copy keeps the stream busy before.
  const DeviceBuffer large(size_t{1} << 30);
  const int64_t num_seqs = built.problem().seqused_k.shape[0];
  cudaMemcpyAsync(large.data(), static_cast<char*>(large.data()) + (size_t{1} << 29),
                  size_t{1} << 29, cudaMemcpyDeviceToDevice, stream);
  cudaMemsetAsync(device.problem().seqused_k.data, 0,
                  static_cast<size_t>(num_seqs) * sizeof(int32_t), stream);
  Explanation without_keys;
  ASSERT_TRUE(explain(device.problem(), step.plan, &without_keys).ok());
  EXPECT_GT(said.kv_bytes, 0);
  EXPECT_EQ(without_keys.kv_bytes, 0);
  cudaStreamDestroy(stream);
}

// Of the stream itself, and of one that the default stream would wait for.
TEST(ExplainCuda, IsAnErrorDuringCaptureWhichGoesOn) {
  PAGODA_SKIP_WITHOUT_GPU();
  const BuiltCase built(mixed_case());
  const DeviceProblem device(built.problem());
  const PlannedStep by_default_stream(device.problem());
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  const PlannedStep by_stream(device.problem(), stream);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  for (const auto mode : {cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal}) {
    ASSERT_EQ(cudaStreamBeginCapture(stream, mode), cudaSuccess);
    for (const Plan* plan : {&by_stream.plan, &by_default_stream.plan}) {
      Explanation said;
      const Status status = explain(device.problem(), *plan, &said);
      EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << status.message();
      EXPECT_NE(status.message().find("captured"), std::string::npos);
    }
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    cudaGraph_t graph;
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    cudaGraphDestroy(graph);
  }
  cudaStreamDestroy(stream);
}

// A plan of another stream can be explained meanwhile.
TEST(ExplainCuda, LeavesOtherStreamsCapturesAlone) {
  PAGODA_SKIP_WITHOUT_GPU();
  const BuiltCase built(mixed_case());
  const DeviceProblem device(built.problem());
  cudaStream_t captured;
  cudaStream_t other;
  ASSERT_EQ(cudaStreamCreateWithFlags(&captured, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking), cudaSuccess);
  const PlannedStep step(device.problem(), other);
  ASSERT_EQ(cudaStreamSynchronize(other), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(captured, cudaStreamCaptureModeGlobal), cudaSuccess);
  Explanation said;
  const Status status = explain(device.problem(), step.plan, &said);
  EXPECT_TRUE(status.ok()) << status.message();
  cudaGraph_t graph;
  EXPECT_EQ(cudaStreamEndCapture(captured, &graph), cudaSuccess);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(captured);
  cudaStreamDestroy(other);
}

}  // namespace
}  // namespace pagoda::testing
