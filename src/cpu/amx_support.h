// Whether this process may use the tiles of AMX.
#ifndef PAGODA_CPU_AMX_SUPPORT_H_
#define PAGODA_CPU_AMX_SUPPORT_H_

namespace pagoda::cpu {

// True if the processor multiplies tiles of bf16 and the system lets the process, which this asks
// it to. The request cannot be taken back, and makes the frames of signals larger: make it only
// for who wants tiles. The tests put an emulator in the place of this function's file.
bool request_amx_bf16();

}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_AMX_SUPPORT_H_
