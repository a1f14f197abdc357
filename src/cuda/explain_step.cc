#include "cuda/explain_step.h"

#include <cstdio>
#include <string>

namespace pagoda::cuda {
namespace {

std::string count(int64_t number, const char* noun) {
  return std::to_string(number) + " " + noun + (number == 1 ? "" : "s");
}

std::string microseconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f us", seconds * 1e6);
  return text;
}

// What lies on the line of one kernel.
std::string tiles_text(const WorkSummary& work) {
  return count(work.num_seqs, "sequence") + ", " + count(work.num_tiles, "row tile") +
         " of up to " + count(work.tile_rows, "row") + ", " + count(work.num_units, "unit") +
         " of a row tile and a KV head";
}

// How it is divided.
std::string plan_text(const WorkSummary& work) {
  std::string text = work.queued ? "whole units from a queue" : "shares";
  text += " for " + count(work.num_workers, "CTA") + ", " + std::to_string(work.num_busy) + " busy";
  if (!work.queued) {
    text += "; " + count(work.num_cut_units, "unit") + " cut";
    if (work.num_cut_units > 0) {
      text += ", into " + std::to_string(work.most_pieces) + " pieces at most";
    }
  }
  return text + "; longest " + (work.queued ? "worker" : "share") + " costs " +
         count(work.longest_cost, "key") + ", a fair one " +
         count(ceil_div(work.total_cost, int64_t{work.num_workers}), "key");
}

}  // namespace

void explain_step(const StepSummary& step, const StepTime& time, Explanation* explanation) {
  static constexpr const char* kRoutes[kMaxWorks] = {"few rows", "many rows"};
  std::string& text = explanation->text;
  for (int32_t i = 0; i < kMaxWorks; ++i) {
    const WorkSummary& work = step.of[i];
    if (work.num_units == 0) continue;
    const std::string route = step.count == 1 ? "all rows" : kRoutes[i];
    text += route + ": " + tiles_text(work) + "\n" + route + " plan: " + plan_text(work) + "\n";
    explanation->num_items += work.num_pieces;
    explanation->num_splits += work.num_partials;
    explanation->num_workers += work.num_busy;
    explanation->kv_bytes += work.needed.kv_bytes;
    explanation->flops += work.needed.flops;
  }
  if (step.count > 1) {
    text += step.cores_divided ? "cores: divided between the routes, which run at the same time\n"
                               : "cores: all for many rows, then all for few rows\n";
  }
  if (step.converted.num_seqs > 0) {
    text += "converted first: K and V of " + count(step.converted.num_seqs, "sequence") + ", " +
            count(step.converted.num_keys, "key") + ", to 16 bits\n";
  }
  explanation->roof_seconds = time.roof_seconds;
  explanation->predicted_seconds = time.predicted_seconds;
  text += "roof time: " + microseconds(time.roof_seconds) + " on an H200\n" +
          "predicted time: " + microseconds(time.predicted_seconds) + " on an H200\n";
}

}  // namespace pagoda::cuda
