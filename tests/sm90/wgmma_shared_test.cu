// Both operands in shared memory: every type and N.
#include "wgmma_product.cuh"

namespace pagoda::testing {
namespace {

using sm90::Major;

template <int kN>
using Bf16 = Product<BFloat16, kN, OperandA::kShared, Major::kK, Major::kK>;
template <int kN>
using Bf16AcrossB = Product<BFloat16, kN, OperandA::kShared, Major::kK, Major::kMn>;
template <int kN>
using F16 = Product<Float16, kN, OperandA::kShared, Major::kK, Major::kK>;
template <int kN>
using E4m3 = Product<Float8E4M3, kN, OperandA::kShared, Major::kK, Major::kK>;

}  // namespace

void test_wgmma_shared(Suite& suite) {
  test_every_n<Bf16>(suite, "bf16, A shared");
  test_every_n<Bf16AcrossB>(suite, "bf16, A shared");
  test_every_n<F16>(suite, "f16, A shared");
  test_every_n<E4m3>(suite, "e4m3, A shared");
}

}  // namespace pagoda::testing
