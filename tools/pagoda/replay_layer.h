// One attention layer of a serving engine, fed with random q, K and V.
#ifndef PAGODA_TOOLS_PAGODA_REPLAY_LAYER_H_
#define PAGODA_TOOLS_PAGODA_REPLAY_LAYER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "compute.h"
#include "geometry.h"
#include "owned_tensor.h"
#include "paged_cache.h"
#include "replay_report.h"
#include "scheduler.h"

namespace pagoda::tools {

class ReplayLayer {
 public:
  // For steps within `limits`, of requests with at most `max_seqlen_k` tokens.
  ReplayLayer(const Geometry& geometry, const SchedulerLimits& limits, int32_t max_seqlen_k,
              uint64_t seed);

  // Writes the step's K and V to its pages and computes its attention.
  StepRecord run(const Step& step);

  // Compares the last token of up to `num_seqs` sequences of the step that run() did last: K and V
  // in the pages with what was written, the output with the oracle. Appends what fails; returns
  // the number of tokens that were compared.
  int64_t verify(int32_t num_seqs, std::vector<std::string>* failures) const;

 private:
  void lay_out(const Step& step);
  void draw_rows(int32_t num_tokens);
  std::string verify_write(int32_t token, int64_t slot) const;

  Geometry geometry_;
  PagedCache cache_;
  // More rows than a step has, of which each step uses a random stretch.
  OwnedTensor q_rows_, k_rows_, v_rows_;
  OwnedTensor out_;
  HostBuffer workspace_;
  Batch batch_;
  std::vector<int64_t> slot_mapping_;
  TensorView k_, v_;  // of the step
  AttentionProblem problem_;
  Random random_;
};

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_REPLAY_LAYER_H_
