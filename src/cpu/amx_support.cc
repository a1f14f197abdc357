#include "cpu/amx_support.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace pagoda::cpu {

bool request_amx_bf16() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr unsigned kHasBf16 = 1u << 22;
  constexpr unsigned kHasTiles = 1u << 24;
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & kHasBf16) != 0 &&
         (edx & kHasTiles) != 0 && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace pagoda::cpu
