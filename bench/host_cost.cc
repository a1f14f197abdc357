// What a call costs besides computing attention: planning a step, and a call that has next to
// nothing to compute.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "pagoda/attention.h"

namespace {

using pagoda::DType;
using pagoda::TensorView;

constexpr int64_t kQHeads = 32, kKvHeads = 8, kHeadDim = 128, kPageSize = 16;

// A step of one prefill and `num_decodes` decodes over contexts of `k_len` tokens. It has no q, K
// or V, which plan() never reads, until allocate() is called.
class Step {
 public:
  Step(int64_t prefill_len, int64_t num_decodes, int32_t k_len) {
    cu_seqlens_q_.push_back(0);
    if (prefill_len > 0) add_sequence(static_cast<int32_t>(prefill_len), k_len);
    for (int64_t i = 0; i < num_decodes; ++i) add_sequence(1, k_len);

    const int64_t num_seqs = static_cast<int64_t>(seqused_k_.size());
    const int64_t max_pages = (k_len + kPageSize - 1) / kPageSize;
    block_table_.assign(num_seqs * max_pages, 0);
    problem_.q = bf16(nullptr, {cu_seqlens_q_.back(), kQHeads, kHeadDim});
    problem_.out = problem_.q;
    problem_.kv.k_pages = bf16(nullptr, {1, kPageSize, kKvHeads, kHeadDim});
    problem_.kv.v_pages = problem_.kv.k_pages;
    problem_.kv.block_table =
        TensorView::contiguous(block_table_.data(), DType::kInt32, {num_seqs, max_pages});
    problem_.cu_seqlens_q =
        TensorView::contiguous(cu_seqlens_q_.data(), DType::kInt32, {num_seqs + 1});
    problem_.seqused_k = TensorView::contiguous(seqused_k_.data(), DType::kInt32, {num_seqs});
  }

  void allocate() {
    for (TensorView* view :
         {&problem_.q, &problem_.out, &problem_.kv.k_pages, &problem_.kv.v_pages}) {
      data_.emplace_back(view->num_elements());
      view->data = data_.back().data();
    }
  }

  const pagoda::AttentionProblem& problem() const { return problem_; }

 private:
  static TensorView bf16(const void* data, std::initializer_list<int64_t> shape) {
    return TensorView::contiguous(data, DType::kBFloat16, shape);
  }

  void add_sequence(int32_t q_len, int32_t k_len) {
    cu_seqlens_q_.push_back(cu_seqlens_q_.back() + q_len);
    seqused_k_.push_back(k_len);
  }

  std::vector<int32_t> cu_seqlens_q_, seqused_k_, block_table_;
  std::vector<std::vector<uint16_t>> data_;
  pagoda::AttentionProblem problem_;
};

struct alignas(64) Block {
  unsigned char bytes[64];
};

std::vector<Block> make_workspace(const pagoda::AttentionProblem& problem) {
  size_t bytes = 0;
  if (!pagoda::workspace_size(pagoda::limits_of(problem), &bytes).ok()) return {};
  return std::vector<Block>((bytes + sizeof(Block) - 1) / sizeof(Block));
}

void run(benchmark::State& state, const Step& step, bool compute) {
  std::vector<Block> memory = make_workspace(step.problem());
  const pagoda::Workspace workspace{memory.data(), memory.size() * sizeof(Block)};
  pagoda::Plan plan;
  pagoda::Status status = pagoda::plan(step.problem(), workspace, {}, &plan);
  for (auto _ : state) {
    if (status.ok()) {
      status = compute ? pagoda::attention(step.problem(), plan)
                       : pagoda::plan(step.problem(), workspace, {}, &plan);
    }
    benchmark::DoNotOptimize(plan);
  }
  if (!status.ok()) state.SkipWithError(status.message().c_str());
}

void plan_decodes(benchmark::State& state) {
  run(state, Step(0, state.range(0), 4096), /*compute=*/false);
}
BENCHMARK(plan_decodes)->RangeMultiplier(4)->Range(1, 1024)->Unit(benchmark::kMicrosecond);

void plan_prefill_and_decodes(benchmark::State& state) {
  run(state, Step(2048, state.range(0), 4096), /*compute=*/false);
}
BENCHMARK(plan_prefill_and_decodes)->Arg(63)->Arg(255)->Unit(benchmark::kMicrosecond);

void attention_to_one_key(benchmark::State& state) {
  Step step(0, 1, 1);
  step.allocate();
  run(state, step, /*compute=*/true);
}
BENCHMARK(attention_to_one_key)->Unit(benchmark::kMicrosecond);

}  // namespace
