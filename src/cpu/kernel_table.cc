#include "cpu/kernel_table.h"

#include <cstdlib>

#include "cpu/amx_support.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace pagoda::cpu {

extern const Kernels kKernelsPortable;
#if defined(__x86_64__)
extern const Kernels kKernelsAvx2;
extern const Kernels kKernelsAvx512;
extern const Kernels kKernelsAvx512Bf16;
extern const Kernels kKernelsAvx512Bf16Vbmi;
extern const Kernels kKernelsAmxBf16;
#endif

namespace {

#if defined(__x86_64__)
// clang 14's __builtin_cpu_supports() does not know f16c.
bool has_f16c() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("fma") && has_f16c();
}

// Every processor with bf16 products has those of bytes.
bool has_bf16_dot() {
  return has_avx512() && __builtin_cpu_supports("avx512bf16") &&
         __builtin_cpu_supports("avx512vnni");
}

bool has_bf16_dot_and_vbmi() {
  return has_bf16_dot() && __builtin_cpu_supports("avx512vbmi");
}
#endif

struct Entry {
  const Kernels* kernels;
  bool (*runs_here)();
  bool only_if_named = false;
};

// Worst first. Each set is gated on the instructions that its file is compiled with.
const Entry kEntries[] = {
    {&kKernelsPortable, [] { return true; }},
#if defined(__x86_64__)
    {&kKernelsAvx2,
     [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }},
    {&kKernelsAvx512, has_avx512},
    {&kKernelsAvx512Bf16, has_bf16_dot},
    {&kKernelsAvx512Bf16Vbmi, has_bf16_dot_and_vbmi},
    // It has run on emulated tiles only, so nobody gets it unasked.
    {.kernels = &kKernelsAmxBf16,
     .runs_here = [] { return has_bf16_dot_and_vbmi() && request_amx_bf16(); },
     .only_if_named = true},
#endif
};

struct Choice {
  const Kernels* kernels = &kKernelsPortable;
  std::string error;
};

Choice choose() {
  Choice choice;
  const char* forced = std::getenv("PAGODA_CPU_ISA");
  const std::string wanted = forced != nullptr ? forced : "";
  bool found = false;
  for (const Entry& entry : kEntries) {
    const bool is_wanted = wanted == entry.kernels->name;
    if (found || (entry.only_if_named && !is_wanted) || !entry.runs_here()) continue;
    choice.kernels = entry.kernels;
    found = is_wanted;
  }
  if (!wanted.empty() && !found) {
    choice.error = "PAGODA_CPU_ISA: got " + wanted + ", wants one of";
    for (const std::string& name : available_isas()) choice.error += " " + name;
    choice.error += "; unset it for the best of them";
  }
  return choice;
}

const Choice& choice() {
  static const Choice chosen = choose();
  return chosen;
}

}  // namespace

const Kernels& kernels() {
  return *choice().kernels;
}

const std::string& isa_error() {
  return choice().error;
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries) {
    if (!entry.only_if_named && entry.runs_here()) names.emplace_back(entry.kernels->name);
  }
  return names;
}

}  // namespace pagoda::cpu
