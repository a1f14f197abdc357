// What a replay measured, and how it is told.
#ifndef PAGODA_TOOLS_PAGODA_REPLAY_REPORT_H_
#define PAGODA_TOOLS_PAGODA_REPLAY_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ceilings.h"
#include "json_output.h"
#include "scheduler.h"

namespace pagoda::tools {

struct StepRecord {
  BatchKind kind = BatchKind::kDecode;
  int32_t num_seqs = 0;
  int32_t num_tokens = 0;
  double write_seconds = 0.0;  // write_kv_cache
  double plan_seconds = 0.0;
  double attention_seconds = 0.0;
  std::string kernel = {};  // as Explanation names it
  double bytes = 0.0;       // attention: K and V that must be read once, q and out
  double flops = 0.0;

  double seconds() const { return write_seconds + plan_seconds + attention_seconds; }
};

struct ReplayReport {
  std::vector<StepRecord> steps;
  Ceilings ceilings;
  double elapsed_seconds = 0.0;  // all of it, verification and scheduling too
  int64_t num_requests = 0;
  int64_t num_finished = 0;
  int32_t num_pages = 0;
  int32_t peak_pages = 0;
  int64_t num_verified_steps = 0;
  int64_t num_verified_tokens = 0;
  std::vector<std::string> failures;  // of verification
};

std::string describe(const ReplayReport& report);
Json to_json(const ReplayReport& report);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_REPLAY_REPORT_H_
