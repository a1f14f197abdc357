// What must not change a result: pages and their order, splits, threads, plans that are shared or
// made again.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "step.h"

namespace pagoda::testing {
namespace {

// Prefill, chunk, verification and decode; long enough that decode is split.
std::vector<Slice> mixed_slices() {
  return {{1, 0, 70}, {2, 100, 133}, {3, 500, 504}, {4, 2999, 3000}, {5, 40, 41}, {6, 0, 1}};
}

constexpr Model kF32{.dtype = DType::kFloat32};
constexpr Model kBF16{.dtype = DType::kBFloat16};

// Rounding of f32 sums in another order.
constexpr double kF32Rounding = 1e-5;
// One unit in the last place of outputs below 4.
constexpr double kBF16Rounding = 0x1p-6;

class PropertyTest : public ::testing::TestWithParam<Model> {
 protected:
  double rounding() const {
    return GetParam().dtype == DType::kFloat32 ? kF32Rounding : kBF16Rounding;
  }
};

INSTANTIATE_TEST_SUITE_P(Dtypes, PropertyTest, ::testing::Values(kF32, kBF16),
                         [](const auto& suite) {
                           return suite.param.dtype == DType::kFloat32 ? "f32" : "bf16";
                         });

TEST_P(PropertyTest, PageSizeDoesNotMatter) {
  const RowBits reference = Step(GetParam(), mixed_slices()).run();
  for (const int32_t page_size : {1, 8, 48, 64, 784}) {
    Step step(GetParam(), mixed_slices(), {.page_size = page_size});
    EXPECT_LE(largest_difference(step.run(), reference, GetParam()), rounding()) << page_size;
  }
}

TEST_P(PropertyTest, PageOrderDoesNotMatter) {
  const RowBits reference = Step(GetParam(), mixed_slices()).run();
  for (const uint32_t page_seed : {2u, 3u}) {
    Step step(GetParam(), mixed_slices(), {.page_seed = page_seed});
    EXPECT_LE(largest_difference(step.run(), reference, GetParam()), rounding());
  }
}

TEST_P(PropertyTest, BatchOrderDoesNotMatter) {
  std::vector<Slice> slices = mixed_slices();
  const RowBits reference = Step(GetParam(), slices).run();
  for (int turn = 0; turn < 3; ++turn) {
    std::rotate(slices.begin(), slices.begin() + 2, slices.end());
    if (turn == 1) std::reverse(slices.begin(), slices.end());
    const RowBits rows = Step(GetParam(), slices).run();
    EXPECT_LE(largest_difference(rows, reference, GetParam()), rounding());
  }
}

TEST_P(PropertyTest, SplitsDoNotMatter) {
  Step step(GetParam(), mixed_slices());
  EXPECT_GT(explained(step.problem()).num_splits, 0);
  const RowBits reference = step.run();
  step.problem().split_policy = SplitPolicy::kFixed;
  for (const int32_t keys : {64, 128, 320, 1024, 1 << 20}) {
    step.problem().fixed_split_keys = keys;
    EXPECT_LE(largest_difference(step.run(), reference, GetParam()), rounding()) << keys;
  }
}

TEST_P(PropertyTest, EveryRunHasTheSameBits) {
  for (const SplitPolicy policy : {SplitPolicy::kBalanced, SplitPolicy::kFixed}) {
    Step step(GetParam(), mixed_slices());
    step.problem().split_policy = policy;
    const RowBits reference = step.run();
    for (int turn = 0; turn < 5; ++turn) expect_same_bits(step.run(), reference);
  }
}

// Thread pools that an engine might bring.
void run_forwards(void*, int64_t num_tasks, ParallelTask task, void* context) {
  for (int64_t i = 0; i < num_tasks; ++i) task(context, i, 0);
}

void run_backwards(void*, int64_t num_tasks, ParallelTask task, void* context) {
  for (int64_t i = num_tasks; i-- > 0;) task(context, i, 0);
}

// `pool` is the number of threads.
void run_in_threads(void* pool, int64_t num_tasks, ParallelTask task, void* context) {
  std::atomic<int64_t> next = 0;
  std::vector<std::thread> threads;
  for (int32_t worker = 0; worker < *static_cast<int32_t*>(pool); ++worker) {
    threads.emplace_back([&, worker] {
      for (int64_t i = next++; i < num_tasks; i = next++) task(context, i, worker);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(PropertyTest, WorkersDoNotChangeABit) {
  for (const SplitPolicy policy : {SplitPolicy::kBalanced, SplitPolicy::kFixed}) {
    Step step(GetParam(), mixed_slices());
    step.problem().split_policy = policy;
    const RowBits reference = step.run();
    for (const auto run : {run_forwards, run_backwards}) {
      const ParallelFor pool{.run = run};
      expect_same_bits(step.run({.parallel_for = &pool}), reference);
    }
    for (int32_t num_threads : {1, 2, 3, 7}) {
      const ParallelFor pool{
          .run = run_in_threads, .pool = &num_threads, .num_workers = num_threads};
      for (int turn = 0; turn < 3; ++turn) {
        expect_same_bits(step.run({.parallel_for = &pool}), reference);
      }
    }
  }
}

TEST(PlanTest, TwoThreadsMayCallAtOnce) {
  Step first(kBF16, mixed_slices());
  Step second(kBF16, {{7, 0, 90}, {8, 1999, 2000}});
  const RowBits first_alone = first.run();
  const RowBits second_alone = second.run();
  const auto repeat = [](Step* step, const RowBits& reference) {
    for (int turn = 0; turn < 10; ++turn) expect_same_bits(step->run(), reference);
  };
  std::thread other(repeat, &second, second_alone);
  repeat(&first, first_alone);
  other.join();
}

TEST(PlanTest, OnePlanServesAllLayers) {
  std::vector<Step> layers;
  for (int32_t layer = 0; layer < 3; ++layer) {
    Model model = kBF16;
    model.layer = layer;
    AttentionProblem& problem = layers.emplace_back(model, mixed_slices()).problem();
    problem.cu_seqlens_q = layers[0].problem().cu_seqlens_q;
    problem.seqused_k = layers[0].problem().seqused_k;
  }
  size_t bytes = 0;
  ASSERT_TRUE(workspace_size(limits_of(layers[0].problem()), &bytes).ok());
  Buffer workspace(bytes);
  Plan plan;
  ASSERT_TRUE(pagoda::plan(layers[0].problem(), {workspace.data(), bytes}, {}, &plan).ok());
  for (int turn = 0; turn < 2; ++turn) {
    for (Step& layer : layers) expect_same_bits(layer.run(plan), layer.run());
  }
}

// Moves a step's contents into the buffers of a larger one, as an engine does between replays.
void load(Step* from, Step* buffers) {
  AttentionProblem& source = from->problem();
  AttentionProblem& target = buffers->problem();
  const auto copy = [](const TensorView& a, const TensorView& b) {
    std::memcpy(b.data, a.data, bytes_spanned(a));
  };
  copy(source.q, target.q);
  copy(source.kv.k_pages, target.kv.k_pages);
  copy(source.kv.v_pages, target.kv.v_pages);
  copy(source.cu_seqlens_q, target.cu_seqlens_q);
  copy(source.seqused_k, target.seqused_k);
  for (int64_t s = 0; s < source.seqused_k.shape[0]; ++s) {
    std::memcpy(element(target.kv.block_table, s), element(source.kv.block_table, s),
                sizeof(int32_t) * source.kv.block_table.shape[1]);
  }
}

TEST(PlanTest, SameBuffersOtherLengths) {
  Step buffers(kBF16, {{1, 0, 100}, {2, 0, 100}, {3, 2999, 3000}, {4, 2999, 3000}});
  AttentionProblem& problem = buffers.problem();
  size_t bytes = 0;
  ASSERT_TRUE(workspace_size(limits_of(problem), &bytes).ok());
  Buffer workspace(bytes, kGuardBytes);
  const std::vector<std::vector<Slice>> steps = {
      {{5, 0, 100}, {6, 0, 3}, {7, 2000, 2001}, {8, 9, 10}},
      {{5, 100, 101}, {6, 3, 90}, {7, 2001, 2002}, {8, 10, 11}},
      {{5, 101, 101}, {6, 90, 91}, {7, 2002, 2003}, {8, 11, 150}}};
  for (const std::vector<Slice>& slices : steps) {
    Step step(kBF16, slices);
    const RowBits reference = step.run();
    load(&step, &buffers);
    std::memset(problem.out.data, kPoison, bytes_spanned(problem.out));
    const Status status = unified_attention(problem, {workspace.data(), bytes});
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_TRUE(workspace.guards_intact());
    const size_t row_bytes = bytes_spanned(problem.out) / problem.out.shape[0];
    int64_t token = 0;
    for (const Slice& slice : slices) {
      for (int32_t p = slice.begin; p < slice.end; ++p, ++token) {
        EXPECT_EQ(std::memcmp(element(problem.out, token), reference.at({slice.sequence, p}).data(),
                              row_bytes),
                  0)
            << "sequence " << slice.sequence << ", position " << p;
      }
    }
  }
}

TEST(PlanTest, WorkspaceOfTheLimitsServesEveryProblemWithin) {
  AttentionLimits limits{.max_num_tokens = 128,
                         .max_num_seqs = 16,
                         .max_seqlen_k = 3000,
                         .num_q_heads = 4,
                         .num_kv_heads = 2,
                         .head_dim = 64};
  for (const SplitPolicy policy : {SplitPolicy::kBalanced, SplitPolicy::kFixed}) {
    limits.split_policy = policy;
    limits.fixed_split_keys = policy == SplitPolicy::kFixed ? 64 : 0;
    size_t bytes = 0;
    ASSERT_TRUE(workspace_size(limits, &bytes).ok());
    Buffer workspace(bytes, kGuardBytes);
    Random random(1, "steps within limits");
    for (int turn = 0; turn < 12; ++turn) {
      std::vector<Slice> slices;
      int32_t tokens = 128;
      for (uint32_t s = 0; s < 16 && tokens > 0; ++s) {
        const auto end = static_cast<int32_t>(random.between(1, turn % 2 == 0 ? 3000 : 200));
        const auto q_len =
            static_cast<int32_t>(random.between(0, std::min(end, turn % 3 == 0 ? 1 : tokens)));
        slices.push_back({s, end - q_len, end});
        tokens -= q_len;
      }
      Step step(kBF16, slices);
      step.problem().split_policy = policy;
      step.problem().fixed_split_keys = limits.fixed_split_keys;
      const RowBits reference = step.run();
      Plan plan;
      const Status status = pagoda::plan(step.problem(), {workspace.data(), bytes}, {}, &plan);
      ASSERT_TRUE(status.ok()) << status.message();
      expect_same_bits(step.run(plan), reference);
      EXPECT_TRUE(workspace.guards_intact());
    }
  }
}

}  // namespace
}  // namespace pagoda::testing
