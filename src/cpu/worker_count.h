// How many workers the library's own thread pool gets.
#ifndef PAGODA_CPU_WORKER_COUNT_H_
#define PAGODA_CPU_WORKER_COUNT_H_

#include <cstdint>
#include <string>

namespace pagoda::cpu {

// PAGODA_NUM_THREADS if it is a number from 1 to 1024; else the CPUs that the process may run on,
// but not more than the CPU time its cgroups grant, rounded up.
int32_t default_num_workers();

// Empty, or why PAGODA_NUM_THREADS cannot be honoured.
std::string worker_count_error();

// CPUs that the cgroups named in `membership` (the text of /proc/self/cgroup, v1 or v2) and their
// ancestors grant, rounded up; INT32_MAX = no limit. `root` is where the hierarchies are mounted.
int32_t cgroup_cpu_limit(const std::string& membership, const std::string& root);

}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_WORKER_COUNT_H_
