// Named barriers, lane election and programmatic dependent launch.
#include "check.h"
#include "cuda/sm90/sync.cuh"

namespace pagoda::testing {
namespace {

// Two groups of 128 threads take turns, one barrier each, `rounds` times; every turn appends to a
// log that has no other protection than the turns.
__global__ void take_turns(int rounds, int* log) {
  __shared__ int length;
  const int thread = static_cast<int>(threadIdx.x);
  const int group = thread / sm90::kWarpgroupSize;
  constexpr int kBoth = 2 * sm90::kWarpgroupSize;
  if (thread == 0) length = 0;
  __syncthreads();
  if (group == 1) sm90::named_barrier_arrive(1, kBoth);  // group 0 goes first
  for (int i = 0; i < rounds; ++i) {
    sm90::named_barrier_sync(1 + group, kBoth);
    if (thread % sm90::kWarpgroupSize == 0) log[length++] = group;
    __threadfence_block();
    sm90::named_barrier_arrive(2 - group, kBoth);
  }
  if (group == 0) sm90::named_barrier_sync(1, kBoth);  // what group 1 signalled last
}

__global__ void count_elected(int* count) {
  if (sm90::elect_one()) atomicAdd(count, 1);
}

// Says at once that the next grid may start, then takes its time to write.
__global__ void write_late(int value, int* data) {
  sm90::wait_for_previous_grids();
  sm90::launch_dependent_grids();
  const int64_t start = clock64();
  while (clock64() - start < 100000) {
  }
  data[blockIdx.x * blockDim.x + threadIdx.x] = value;
}

__global__ void read_early(const int* data, int* out) {
  sm90::wait_for_previous_grids();
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  out[i] = data[gridDim.x * blockDim.x - 1 - i];
}

template <class... Args>
cudaError_t launch_dependent(void (*kernel)(Args...), int ctas, int threads, Args... args) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(ctas);
  config.blockDim = dim3(threads);
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, args...);
}

}  // namespace

void test_sync(Suite& suite) {
  suite.begin("sync/two warpgroups take turns by named barriers");
  constexpr int kRounds = 500;
  const DeviceArray<int> log(2 * kRounds);
  take_turns<<<1, 256>>>(kRounds, log.get());
  suite.synchronize();
  std::vector<int> want;
  for (int i = 0; i < 2 * kRounds; ++i) want.push_back(i % 2);
  suite.expect_equal(log.to_host(), want);

  suite.begin("sync/one lane of each warp is elected");
  const DeviceArray<int> count(std::vector<int>{0});
  count_elected<<<3, 96>>>(count.get());
  suite.synchronize();
  suite.expect_equal(count.to_host(), {9});

  suite.begin("sync/a dependent grid sees all that the one before wrote");
  constexpr int kCtas = 132, kThreads = 256;
  const DeviceArray<int> data(kCtas * kThreads), out(kCtas * kThreads);
  for (int value = 1; value <= 20; ++value) {
    suite.expect(launch_dependent(write_late, kCtas, kThreads, value, data.get()) == cudaSuccess,
                 "launch");
    suite.expect(launch_dependent(read_early, kCtas, kThreads, static_cast<const int*>(data.get()),
                                  out.get()) == cudaSuccess,
                 "launch");
    suite.synchronize();
    suite.expect_equal(out.to_host(), std::vector<int>(kCtas * kThreads, value));
  }
}

}  // namespace pagoda::testing
