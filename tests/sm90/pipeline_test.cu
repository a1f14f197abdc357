// One producer warp and two consumer warpgroups around a ring of three stages, registers moved from
// the one to the others: the shape of the attention kernel, with a sum in place of attention.
#include <numeric>

#include "check.h"
#include "cuda/sm90/sync.cuh"
#include "cuda/sm90/tma.cuh"
#include "cuda/tile/pipeline.cuh"

namespace pagoda::testing {
namespace {

constexpr int kStages = 3;
constexpr int kStageWords = 1024;
constexpr int kConsumers = 256;
constexpr int kThreads = kConsumers + sm90::kWarpgroupSize;
constexpr int kProducerRegs = 40, kConsumerRegs = 232;

struct Smem {
  alignas(128) uint32_t stage[kStages][kStageWords];
  tile::Pipeline<kStages> ring;
};

// out[consumer][i] = sum over the stages that passed of word (i + its number) % kStageWords.
__global__ __launch_bounds__(kThreads, 1) void stream(const uint32_t* in, int num_stages,
                                                      uint32_t* out) {
  __shared__ Smem smem;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) smem.ring.init(1, kConsumers);
  __syncthreads();
  tile::PipelineCursor<kStages> cursor;
  if (thread < sm90::kWarpgroupSize) {
    sm90::lower_registers<kProducerRegs>();
    if (thread < sm90::kWarpSize) {
      const bool leader = sm90::elect_one();
      for (int i = 0; i < num_stages; ++i, cursor.advance()) {
        smem.ring.acquire(cursor);
        if (!leader) continue;
        sm90::arrive_expect_bytes(smem.ring.full(cursor), sizeof(smem.stage[0]));
        sm90::load_bytes(smem.stage[cursor.stage], in + static_cast<int64_t>(i) * kStageWords,
                         sizeof(smem.stage[0]), smem.ring.full(cursor), sm90::l2_evict_first());
      }
    }
  } else {
    sm90::raise_registers<kConsumerRegs>();
    const int consumer = thread - sm90::kWarpgroupSize;
    uint32_t sum = 0;
    for (int i = 0; i < num_stages; ++i, cursor.advance()) {
      smem.ring.wait(cursor);
      sum += smem.stage[cursor.stage][(consumer + i) % kStageWords];
      smem.ring.release(cursor);
    }
    out[blockIdx.x * kConsumers + consumer] = sum;
  }
}

}  // namespace

void test_pipeline(Suite& suite) {
  for (int num_stages : {1, 2, 3, 4, 7, 1000}) {
    suite.begin("pipeline/" + std::to_string(num_stages) + " stages through a ring of 3");
    std::vector<uint32_t> x(static_cast<size_t>(num_stages) * kStageWords);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint32_t>(i * 2654435761u);
    constexpr int kCtas = 200;
    const DeviceArray<uint32_t> in(x), out(kCtas * kConsumers);
    stream<<<kCtas, kThreads>>>(in.get(), num_stages, out.get());
    suite.synchronize();
    std::vector<uint32_t> want(kCtas * kConsumers, 0);
    for (size_t i = 0; i < want.size(); ++i) {
      const int consumer = static_cast<int>(i) % kConsumers;
      for (int j = 0; j < num_stages; ++j) {
        want[i] += x[static_cast<size_t>(j) * kStageWords + (consumer + j) % kStageWords];
      }
    }
    suite.expect_equal(out.to_host(), want);
  }
}

}  // namespace pagoda::testing
