// The options of a problem file: metadata, key by key.
#ifndef PAGODA_TOOLS_PAGODA_PROBLEM_OPTIONS_H_
#define PAGODA_TOOLS_PAGODA_PROBLEM_OPTIONS_H_

#include <map>
#include <optional>
#include <string>

#include "geometry.h"
#include "pagoda/attention.h"

namespace pagoda::tools {

struct ProblemOptions {
  AttentionProblem problem;  // its options; its tensors are absent
  KvLayout kv_layout = KvLayout::kNhd;
  std::optional<DType> out_dtype;  // absent = q's; bf16 where that is e4m3
};

// Throws BadInput for an unknown key or a bad value.
ProblemOptions parse_problem_options(const std::map<std::string, std::string>& metadata);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_PROBLEM_OPTIONS_H_
