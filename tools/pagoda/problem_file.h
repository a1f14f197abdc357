// An attention problem in a safetensors file: tensors by the names of the API, options as
// metadata. docs/cli.md lists both.
#ifndef PAGODA_TOOLS_PAGODA_PROBLEM_FILE_H_
#define PAGODA_TOOLS_PAGODA_PROBLEM_FILE_H_

#include <string>
#include <vector>

#include "pagoda/attention.h"
#include "safetensors.h"

namespace pagoda::tools {

class ProblemFile {
 public:
  // Throws BadInput if the file is malformed or the library would not take the problem.
  explicit ProblemFile(const std::string& path);

  // With memory for out and lse, in checked mode: the file's contents are not trusted.
  const AttentionProblem& problem() const { return problem_; }

 private:
  std::vector<OwnedTensor> inputs_;
  OwnedTensor out_;
  OwnedTensor lse_;
  AttentionProblem problem_;
};

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_PROBLEM_FILE_H_
