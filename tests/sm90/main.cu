// Tests of src/cuda/sm90, src/cuda/tile and src/cuda/tensor_map on a GPU. Exits with 77 where there
// is no GPU that can run them.
#include "check.h"

int main() {
  namespace testing = pagoda::testing;
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess || properties.major != 9) {
    std::printf("sm90_test: no Hopper GPU\n");
    return 77;
  }
  testing::Suite suite;
  testing::test_convert(suite);
  testing::test_ldst(suite);
  testing::test_mma_sync(suite);
  testing::test_sync(suite);
  testing::test_tma(suite);
  testing::test_tma_pages(suite);
  testing::test_pipeline(suite);
  testing::test_wgmma_shared(suite);
  testing::test_wgmma_registers(suite);
  testing::test_wgmma_swizzles(suite);
  return suite.finish();
}
