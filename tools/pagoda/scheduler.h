// Continuous batching: which tokens of which requests make the next step, and on which pages.
#ifndef PAGODA_TOOLS_PAGODA_SCHEDULER_H_
#define PAGODA_TOOLS_PAGODA_SCHEDULER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "trace.h"

namespace pagoda::tools {

struct SchedulerLimits {
  int32_t token_budget = 512;  // new tokens of a step
  int32_t max_seqs = 32;       // sequences at a time; at most token_budget
  int32_t num_pages = 0;       // of the cache
  int32_t page_size = 16;
};

struct ScheduledSeq {
  int32_t q_len = 0;  // new tokens of this step
  int32_t k_len = 0;  // tokens in the cache once they are written
  const std::vector<int32_t>* pages = nullptr;
};

enum class BatchKind { kPrefill, kDecode, kMixed };
constexpr int kNumBatchKinds = 3;
const char* name_of(BatchKind kind);

struct Step {
  std::vector<ScheduledSeq> seqs;
  BatchKind kind = BatchKind::kDecode;
};

// Decodes come first, then prompts are cut into chunks that fill the token budget. Requests are
// admitted in order, as soon as the cache can hold them to their end: nothing is ever preempted.
// Pages are taken when a sequence grows into them; freed ones are the first to be used again.
class Scheduler {
 public:
  // Throws BadInput if a request is larger than the whole cache.
  Scheduler(const SchedulerLimits& limits, std::vector<Request> requests);

  bool done() const { return running_.empty() && next_request_ == requests_.size(); }
  // Valid until finish_step(). Never empty unless done().
  const Step& next_step();
  // The step was computed: sequences that are complete leave and free their pages.
  void finish_step();

  int64_t num_finished() const { return num_finished_; }
  int32_t num_running() const { return static_cast<int32_t>(running_.size()); }
  int32_t pages_in_use() const { return limits_.num_pages - static_cast<int32_t>(free_.size()); }

 private:
  struct Sequence {
    Request request;
    int32_t cached_tokens = 0;
    std::vector<int32_t> pages;
    int32_t step_tokens = 0;  // scheduled in the current step

    bool in_prefill() const { return cached_tokens < request.context_tokens; }
  };

  int32_t pages_for(int32_t tokens) const {
    return (tokens + limits_.page_size - 1) / limits_.page_size;
  }
  bool can_admit_next() const;
  void schedule(Sequence* sequence, int32_t tokens);

  SchedulerLimits limits_;
  std::vector<Request> requests_;
  size_t next_request_ = 0;
  std::vector<Sequence> running_;
  std::vector<int32_t> free_;   // the last one is used first
  int32_t reserved_pages_ = 0;  // that the running sequences will have at their ends
  int64_t num_finished_ = 0;
  Step step_;
};

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_SCHEDULER_H_
