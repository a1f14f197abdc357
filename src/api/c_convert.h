// Structs of the C API, whole and of this library's version, as those of the C++ API.
#ifndef PAGODA_API_C_CONVERT_H_
#define PAGODA_API_C_CONVERT_H_

#include "pagoda/attention.h"
#include "pagoda/c_api.h"
#include "pagoda/kv_cache.h"

namespace pagoda {

AttentionProblem to_cpp(const PagodaProblem& problem);
AttentionLimits to_cpp(const PagodaLimits& limits);
MakeKvCache to_cpp(const PagodaMakeKvCache& args);
WriteKvCache to_cpp(const PagodaWriteKvCache& args);
AttentionState to_cpp(const PagodaState& state);
GatherKvCache to_cpp(const PagodaGatherKvCache& args);
CopyPages to_cpp(const PagodaCopyPages& args);

PagodaLimits to_c(const AttentionLimits& limits);
// The memory goes over to the result.
PagodaKvCache to_c(HostKvCache cache);

}  // namespace pagoda

#endif  // PAGODA_API_C_CONVERT_H_
