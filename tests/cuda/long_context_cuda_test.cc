// 131072 keys of 8 bits, of which one stands out: neither its value nor that of all the others,
// each of which has a weight that fp8 would round to 0, may get lost.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>
#include <vector>

#include "cases_memory.h"
#include "core/checks.h"
#include "core/dtype.h"
#include "cuda/device_problem.h"
#include "pagoda/attention.h"

namespace pagoda::testing {
namespace {

constexpr int64_t kKeys = 131072;
constexpr int64_t kNeedle = 77777;
constexpr int32_t kPageSize = 16;
constexpr int32_t kHeads = 4;
constexpr int32_t kHeadDim = 128;
constexpr float kNeedleValue = 1.0f;

struct LongContext {
  DType q_dtype;
  DType kv_dtype;
  double needle_logit;  // the others' is 0
};

std::ostream& operator<<(std::ostream& out, const LongContext& c) {
  return out << "q=" << dtype_name(c.q_dtype) << " kv=" << dtype_name(c.kv_dtype)
             << " needle_logit=" << c.needle_logit;
}

class LongContextTest : public ::testing::TestWithParam<LongContext> {};

void set(const TensorView& view, int64_t index, float x) {
  store_element(view.data, view.dtype, index, x);
}

float value_of(int64_t key) {
  return key == kNeedle ? kNeedleValue : static_cast<float>(2 + key % 3);
}

TEST_P(LongContextTest, NothingIsLost) {
  int num_devices = 0;
  if (cudaGetDeviceCount(&num_devices) != cudaSuccess || num_devices == 0) {
    GTEST_SKIP() << "no GPU";
  }
  const LongContext& c = GetParam();
  TensorPool pool;
  AttentionProblem problem;
  problem.q = pool.make(c.q_dtype, {1, kHeads, kHeadDim});
  problem.kv.k_pages = pool.make(c.kv_dtype, {kKeys / kPageSize, kPageSize, 1, kHeadDim});
  problem.kv.v_pages = pool.make(c.kv_dtype, {kKeys / kPageSize, kPageSize, 1, kHeadDim});
  problem.kv.block_table = pool.make(DType::kInt32, {1, kKeys / kPageSize});
  problem.cu_seqlens_q = pool.make(DType::kInt32, {2});
  problem.seqused_k = pool.make(DType::kInt32, {1});
  problem.out = pool.make(DType::kBFloat16, {1, kHeads, kHeadDim});
  for (int64_t i = 0; i < int64_t{kHeads} * kHeadDim; ++i) set(problem.q, i, 1.0f);
  for (int64_t key = 0; key < kKeys; ++key) {
    for (int64_t d = 0; d < kHeadDim; ++d) {
      const bool stands_out = key == kNeedle && c.needle_logit > 0.0;
      set(problem.kv.k_pages, key * kHeadDim + d, stands_out ? 1.0f : 0.0f);
      set(problem.kv.v_pages, key * kHeadDim + d, value_of(key));
    }
  }
  for (int32_t page = 0; page < kKeys / kPageSize; ++page) {
    element_as<int32_t>(problem.kv.block_table, 0, page) = page;
  }
  element_as<int32_t>(problem.cu_seqlens_q, 0) = 0;
  element_as<int32_t>(problem.cu_seqlens_q, 1) = 1;
  element_as<int32_t>(problem.seqused_k, 0) = kKeys;
  problem.softmax_scale = static_cast<float>(c.needle_logit / kHeadDim);  // 0: of any size
  const DeviceProblem device(problem);
  size_t bytes = 0;
  ASSERT_TRUE(workspace_size(limits_of(device.problem()), &bytes).ok());
  const DeviceBuffer workspace(bytes);
  Plan step;
  Status status = plan(device.problem(), {workspace.data(), bytes}, {}, &step);
  ASSERT_TRUE(status.ok()) << status.message();
  status = attention(device.problem(), step);
  ASSERT_TRUE(status.ok()) << status.message();
  device.fetch_outputs();

  double weights = 0.0;
  double weighted = 0.0;
  for (int64_t key = 0; key < kKeys; ++key) {
    const double logit = key == kNeedle ? double{problem.softmax_scale} * kHeadDim : 0.0;
    weights += std::exp(logit);
    weighted += std::exp(logit) * value_of(key);
  }
  const double truth = weighted / weights;
  constexpr double kRoundings = 2.0;  // of bf16: the output's own, and as much for all the rest
  for (int64_t i = 0; i < int64_t{kHeads} * kHeadDim; ++i) {
    EXPECT_NEAR(load_element(problem.out.data, problem.out.dtype, i), truth,
                truth * kRoundings / 512)
        << "element " << i;
  }
}

std::vector<LongContext> contexts() {
  std::vector<LongContext> all;
  for (DType q : {DType::kBFloat16, DType::kFloat8E4M3}) {
    for (DType kv : {DType::kFloat8E4M3, DType::kFloat8E5M2}) {
      // Half of all weight; 0.8 % of it; no more than the others.
      for (double logit : {std::log(double{kKeys - 1}), std::log(1024.0), 0.0}) {
        all.push_back({q, kv, logit});
      }
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Needle, LongContextTest, ::testing::ValuesIn(contexts()));

}  // namespace
}  // namespace pagoda::testing
