// Every case that the CUDA backend supports, against the oracle, on a GPU.
//   attention_cuda_test [--case="seqs=..."] [--every=N]
// Exits with 77 where there is no GPU.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "cases.h"
#include "cuda/device_problem.h"
#include "pagoda/attention.h"

namespace pagoda::testing {
namespace {

constexpr int kSkipped = 77;
constexpr int kUsage = 2;

void compute(const AttentionProblem& problem, void* workspace, size_t bytes) {
  Plan step;
  Status status = plan(problem, {workspace, bytes}, {}, &step);
  ASSERT_TRUE(status.ok()) << status.message();
  status = attention(problem, step);
  ASSERT_TRUE(status.ok()) << status.message();
}

class CudaCase : public ::testing::Test {
 public:
  explicit CudaCase(const Case& spec) : spec_(spec) {}

  void TestBody() override {
    SCOPED_TRACE("attention_cuda_test --case=\"" + to_line(spec_) + "\"");
    // Only what CUDA may be given: f32 is the CPU's, and rows have to be aligned to 16 bytes.
    for (DType dtype : {spec_.q_dtype, spec_.kv_dtype, spec_.out_dtype}) {
      if (dtype == DType::kFloat32) GTEST_SKIP() << "float32";
      if (spec_.head_dim * size_of(dtype) % 16 != 0) GTEST_SKIP() << "rows are not aligned";
    }
    BuiltCase built(spec_);
    const DeviceProblem device(built.problem());
    const Status status = supported(device.problem());
    if (status.code() == StatusCode::kUnsupported) GTEST_SKIP() << status.message();
    size_t bytes = 0;
    ASSERT_TRUE(workspace_size(limits_of(device.problem()), &bytes).ok());
    const DeviceBuffer workspace(bytes);
    ASSERT_EQ(cudaMemset(workspace.data(), 0xff, bytes), cudaSuccess);
    compute(device.problem(), workspace.data(), bytes);
    device.fetch_outputs();
    const Verdict verdict = verify(built);
    EXPECT_TRUE(verdict.ok) << verdict.message;
  }

 private:
  Case spec_;
};

void register_case(const Case& c) {
  ::testing::RegisterTest("Cuda", to_line(c).c_str(), nullptr, nullptr, __FILE__, __LINE__,
                          [c]() -> CudaCase* { return new CudaCase(c); });
}

void register_grids(int every) {
  int index = 0;
  for (const Grid& grid : all_grids(400, 1)) {
    for (const Case& c : grid.cases) {
      if (index++ % every == 0) register_case(c);
    }
  }
}

int run(int argc, char** argv) {
  int num_devices = 0;
  if (cudaGetDeviceCount(&num_devices) != cudaSuccess || num_devices == 0) {
    std::printf("skipped: no GPU\n");
    return kSkipped;
  }
  int every = 1;
  bool one_case = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--case=", 7) == 0) {
      Case c;
      std::string error;
      if (!parse_case(argv[i] + 7, &c, &error)) {
        std::fprintf(stderr, "%s\n", error.c_str());
        return kUsage;
      }
      register_case(c);
      one_case = true;
    } else if (std::strncmp(argv[i], "--every=", 8) == 0 && std::atoi(argv[i] + 8) > 0) {
      every = std::atoi(argv[i] + 8);
    } else {
      std::fprintf(stderr, "got %s, wants --case=LINE, --every=N or a --gtest_ option\n", argv[i]);
      return kUsage;
    }
  }
  if (!one_case) register_grids(every);
  return RUN_ALL_TESTS();
}

}  // namespace
}  // namespace pagoda::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  return pagoda::testing::run(argc, argv);
}
