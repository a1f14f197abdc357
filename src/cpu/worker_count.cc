#include "cpu/worker_count.h"

#include <sched.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>
#include <vector>

namespace pagoda::cpu {
namespace {

constexpr int32_t kNoLimit = std::numeric_limits<int32_t>::max();
constexpr int32_t kMaxWorkers = 1024;

// The whole file; empty if there is none.
std::string read_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

int32_t cpus_of(double quota, double period) {
  if (!(quota > 0) || !(period > 0)) return kNoLimit;
  const double cpus = quota / period;
  if (cpus >= kNoLimit) return kNoLimit;
  const auto whole = static_cast<int32_t>(cpus);
  return std::max(1, whole < cpus ? whole + 1 : whole);
}

// v2: "quota period" or "max period".
int32_t limit_v2(const std::string& folder) {
  std::istringstream text(read_file(folder + "/cpu.max"));
  double quota = 0;
  double period = 0;
  return text >> quota >> period ? cpus_of(quota, period) : kNoLimit;
}

// v1: a quota of -1 is none.
int32_t limit_v1(const std::string& folder) {
  std::istringstream quota_text(read_file(folder + "/cpu.cfs_quota_us"));
  std::istringstream period_text(read_file(folder + "/cpu.cfs_period_us"));
  double quota = 0;
  double period = 0;
  return quota_text >> quota && period_text >> period ? cpus_of(quota, period) : kNoLimit;
}

// The least limit of a cgroup and its ancestors. The root is always asked: inside a container it
// is the container's own group, while `path` may be the host's name for it.
template <class LimitOf>
int32_t limit_along(const std::string& mount, std::string path, LimitOf limit_of) {
  int32_t limit = limit_of(mount);
  while (path.size() > 1) {
    limit = std::min(limit, limit_of(mount + path));
    path.resize(path.rfind('/'));
  }
  return limit;
}

// "cpu" among names with commas between them.
bool names_cpu(const std::string& controllers) {
  return ("," + controllers + ",").find(",cpu,") != std::string::npos;
}

int32_t cpus_in_affinity() {
  // The kernel wants a mask at least as large as its own.
  for (size_t words = 16; words <= 1024; words *= 2) {
    std::vector<unsigned long> mask(words);
    const size_t bytes = words * sizeof(unsigned long);
    if (sched_getaffinity(0, bytes, reinterpret_cast<cpu_set_t*>(mask.data())) != 0) continue;
    int32_t cpus = 0;
    for (unsigned long word : mask) cpus += std::popcount(word);
    return std::max(1, cpus);
  }
  return 1;
}

// The environment's wish; empty = none.
std::string wished_workers() {
  const char* text = std::getenv("PAGODA_NUM_THREADS");
  return text != nullptr ? text : "";
}

// 0 = no such number.
int32_t parse_workers(const std::string& text) {
  const char* end = text.data() + text.size();
  int32_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  const bool is_valid = error == std::errc() && stop == end && value >= 1 && value <= kMaxWorkers;
  return is_valid ? value : 0;
}

}  // namespace

int32_t cgroup_cpu_limit(const std::string& membership, const std::string& root) {
  int32_t limit = kNoLimit;
  std::istringstream lines(membership);
  // "hierarchy:controllers:path"; the v2 hierarchy is 0 and names no controllers.
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (!path.starts_with('/')) continue;
    if (controllers.empty()) limit = std::min(limit, limit_along(root, path, limit_v2));
    if (names_cpu(controllers)) {
      limit = std::min(limit, limit_along(root + "/" + controllers, path, limit_v1));
      limit = std::min(limit, limit_along(root + "/cpu", path, limit_v1));
    }
  }
  return limit;
}

int32_t default_num_workers() {
  if (const int32_t wished = parse_workers(wished_workers()); wished > 0) return wished;
  const int32_t granted = cgroup_cpu_limit(read_file("/proc/self/cgroup"), "/sys/fs/cgroup");
  return std::min({cpus_in_affinity(), granted, kMaxWorkers});
}

std::string worker_count_error() {
  const std::string wished = wished_workers();
  if (wished.empty() || parse_workers(wished) > 0) return {};
  return "PAGODA_NUM_THREADS: got " + wished + ", wants a number from 1 to " +
         std::to_string(kMaxWorkers) + "; unset it for one thread per CPU";
}

}  // namespace pagoda::cpu
