#include "scheduler.h"

#include <fmt/format.h>

#include <algorithm>

#include "error.h"

namespace pagoda::tools {

const char* name_of(BatchKind kind) {
  constexpr const char* kNames[kNumBatchKinds] = {"prefill", "decode", "mixed"};
  return kNames[static_cast<int>(kind)];
}

Scheduler::Scheduler(const SchedulerLimits& limits, std::vector<Request> requests)
    : limits_(limits), requests_(std::move(requests)) {
  for (const Request& request : requests_) {
    if (pages_for(request.cached_tokens()) <= limits_.num_pages) continue;
    throw BadInput(
        fmt::format("cache: got {} pages of {} tokens, the largest request wants {} "
                    "tokens; use a larger --cache-tokens",
                    limits_.num_pages, limits_.page_size, request.cached_tokens()));
  }
  running_.reserve(static_cast<size_t>(limits_.max_seqs));
  for (int32_t page = limits_.num_pages - 1; page >= 0; --page) free_.push_back(page);
}

bool Scheduler::can_admit_next() const {
  return next_request_ < requests_.size() && num_running() < limits_.max_seqs &&
         reserved_pages_ + pages_for(requests_[next_request_].cached_tokens()) <= limits_.num_pages;
}

void Scheduler::schedule(Sequence* sequence, int32_t tokens) {
  sequence->step_tokens = tokens;
  const int32_t k_len = sequence->cached_tokens + tokens;
  while (static_cast<int32_t>(sequence->pages.size()) < pages_for(k_len)) {
    sequence->pages.push_back(free_.back());
    free_.pop_back();
  }
  step_.seqs.push_back({.q_len = tokens, .k_len = k_len, .pages = &sequence->pages});
}

const Step& Scheduler::next_step() {
  step_.seqs.clear();
  int32_t budget = limits_.token_budget;
  for (Sequence& sequence : running_) {
    if (sequence.in_prefill()) continue;
    schedule(&sequence, 1);
    --budget;
  }
  const size_t num_decodes = step_.seqs.size();
  const auto schedule_chunk = [&](Sequence* sequence) {
    const int32_t rest = sequence->request.context_tokens - sequence->cached_tokens;
    const int32_t chunk = std::min(rest, budget);
    schedule(sequence, chunk);
    budget -= chunk;
  };
  for (Sequence& sequence : running_) {
    if (sequence.in_prefill() && budget > 0) schedule_chunk(&sequence);
  }
  while (budget > 0 && can_admit_next()) {
    const Request& request = requests_[next_request_++];
    reserved_pages_ += pages_for(request.cached_tokens());
    running_.push_back({.request = request, .pages = {}});
    schedule_chunk(&running_.back());
  }
  const bool any_prefill = step_.seqs.size() > num_decodes;
  step_.kind = !any_prefill       ? BatchKind::kDecode
               : num_decodes == 0 ? BatchKind::kPrefill
                                  : BatchKind::kMixed;
  return step_;
}

void Scheduler::finish_step() {
  for (Sequence& sequence : running_) {
    sequence.cached_tokens += sequence.step_tokens;
    sequence.step_tokens = 0;
    if (sequence.cached_tokens < sequence.request.cached_tokens()) continue;
    free_.insert(free_.end(), sequence.pages.rbegin(), sequence.pages.rend());
    reserved_pages_ -= pages_for(sequence.request.cached_tokens());
    ++num_finished_;
  }
  std::erase_if(running_, [](const Sequence& sequence) {
    return sequence.cached_tokens >= sequence.request.cached_tokens();
  });
}

}  // namespace pagoda::tools
