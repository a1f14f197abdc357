// The CPU kernels of one instruction set, and the choice among the sets at run time.
#ifndef PAGODA_CPU_KERNEL_TABLE_H_
#define PAGODA_CPU_KERNEL_TABLE_H_

#include <string>
#include <vector>

#include "cpu/kernels.h"

namespace pagoda::cpu {

// The best set that this processor has, or the one named by PAGODA_CPU_ISA (portable, avx2, avx512,
// avx512_bf16, avx512_bf16_vbmi; amx_bf16 only if it is named). plan() fails with isa_error() if
// this processor or build lacks that one.
const Kernels& kernels();

// Empty, or why PAGODA_CPU_ISA cannot be honoured.
const std::string& isa_error();

// Names of the sets that this build has and this processor can run, best last, without those that
// want to be named.
std::vector<std::string> available_isas();

}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_KERNEL_TABLE_H_
