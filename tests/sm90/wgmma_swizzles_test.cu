// Every way to store the operands: four swizzles, either dimension contiguous.
#include "wgmma_product.cuh"

namespace pagoda::testing {
namespace {

using sm90::Major;

template <sm90::Swizzle kSwizzle>
void test_majors(Suite& suite) {
  constexpr auto kShared = OperandA::kShared;
  constexpr int kN = 64;
  using T = BFloat16;
  const std::string name = "bf16 layouts";
  test_product<Product<T, kN, kShared, Major::kK, Major::kK, kSwizzle>>(suite, name);
  test_product<Product<T, kN, kShared, Major::kK, Major::kMn, kSwizzle>>(suite, name);
  test_product<Product<T, kN, kShared, Major::kMn, Major::kK, kSwizzle>>(suite, name);
  test_product<Product<T, kN, kShared, Major::kMn, Major::kMn, kSwizzle>>(suite, name);
}

}  // namespace

void test_wgmma_swizzles(Suite& suite) {
  test_majors<sm90::Swizzle::k128B>(suite);
  test_majors<sm90::Swizzle::k64B>(suite);
  test_majors<sm90::Swizzle::k32B>(suite);
  test_majors<sm90::Swizzle::kNone>(suite);
}

}  // namespace pagoda::testing
