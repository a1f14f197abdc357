#include "replay_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "table.h"
#include "timing.h"
#include "units.h"

namespace pagoda::tools {
namespace {

// Sums over the steps of one kind, or of all.
struct Totals {
  std::vector<double> step_seconds;
  int64_t num_seqs = 0;
  int64_t num_tokens = 0;
  double seconds = 0.0;
  double write_seconds = 0.0;
  double plan_seconds = 0.0;
  double attention_seconds = 0.0;
  double roof_seconds = 0.0;  // of attention
  double bytes = 0.0;
  double flops = 0.0;

  void add(const StepRecord& step, const Ceilings& ceilings) {
    step_seconds.push_back(step.seconds());
    num_seqs += step.num_seqs;
    num_tokens += step.num_tokens;
    seconds += step.seconds();
    write_seconds += step.write_seconds;
    plan_seconds += step.plan_seconds;
    attention_seconds += step.attention_seconds;
    roof_seconds += ceilings.roof(step.bytes, step.flops, step.kernel).seconds;
    bytes += step.bytes;
    flops += step.flops;
  }
};

struct Summary {
  Totals by_kind[kNumBatchKinds];
  Totals all;
};

Summary summarize(const ReplayReport& report) {
  Summary summary;
  for (const StepRecord& step : report.steps) {
    summary.by_kind[static_cast<int>(step.kind)].add(step, report.ceilings);
    summary.all.add(step, report.ceilings);
  }
  return summary;
}

double ratio(double numerator, double denominator) {
  return denominator > 0.0 ? numerator / denominator : 0.0;
}

void add_row(const std::string& name, const Totals& totals, const Totals& all, Table* table) {
  if (totals.step_seconds.empty()) return;
  const auto steps = static_cast<int64_t>(totals.step_seconds.size());
  table->add_row({name, format_count(steps), format_count(totals.num_tokens),
                  fmt::format("{:.1f}", ratio(static_cast<double>(totals.num_seqs),
                                              static_cast<double>(steps))),
                  format_percent(ratio(totals.seconds, all.seconds)),
                  format_seconds(percentile(totals.step_seconds, 0.5)),
                  format_seconds(percentile(totals.step_seconds, 0.9)),
                  format_seconds(percentile(totals.step_seconds, 0.99)),
                  fmt::format("{:.1f}", ratio(totals.bytes, totals.attention_seconds) / 1e9),
                  fmt::format("{:.3f}", ratio(totals.flops, totals.attention_seconds) / 1e12),
                  format_percent(ratio(totals.roof_seconds, totals.attention_seconds))});
}

std::string kind_table(const Summary& summary) {
  Table table({"steps by kind", "steps", "tokens", "seqs/step", "time", "p50", "p90", "p99", "GB/s",
               "TFLOP/s", "roof"});
  for (int kind = 0; kind < kNumBatchKinds; ++kind) {
    add_row(name_of(static_cast<BatchKind>(kind)), summary.by_kind[kind], summary.all, &table);
  }
  add_row("all", summary.all, summary.all, &table);
  return table.text();
}

std::string verification(const ReplayReport& report) {
  if (report.num_verified_steps == 0) return "none";
  return fmt::format("{} tokens of {} steps against the oracle, {}", report.num_verified_tokens,
                     report.num_verified_steps,
                     report.failures.empty() ? "all within its bounds"
                                             : fmt::format("{} FAILED", report.failures.size()));
}

Json to_json(const Totals& totals, const Totals& all) {
  return {{"num_steps", totals.step_seconds.size()},
          {"num_tokens", totals.num_tokens},
          {"num_seqs", totals.num_seqs},
          {"seconds", totals.seconds},
          {"share_of_time", ratio(totals.seconds, all.seconds)},
          {"write_seconds", totals.write_seconds},
          {"plan_seconds", totals.plan_seconds},
          {"attention_seconds", totals.attention_seconds},
          {"step_p50_seconds", percentile(totals.step_seconds, 0.5)},
          {"step_p90_seconds", percentile(totals.step_seconds, 0.9)},
          {"step_p99_seconds", percentile(totals.step_seconds, 0.99)},
          {"gb_per_s", ratio(totals.bytes, totals.attention_seconds) / 1e9},
          {"tflop_per_s", ratio(totals.flops, totals.attention_seconds) / 1e12},
          {"roof_share", ratio(totals.roof_seconds, totals.attention_seconds)}};
}

}  // namespace

std::string describe(const ReplayReport& report) {
  const Summary summary = summarize(report);
  const Totals& all = summary.all;
  Facts facts;
  facts.add("requests", fmt::format("{} of {} finished", format_count(report.num_finished),
                                    format_count(report.num_requests)));
  facts.add("tokens", fmt::format("{} in {}: {} tokens/s through this one layer",
                                  format_count(all.num_tokens), format_seconds(all.seconds),
                                  format_count(static_cast<int64_t>(
                                      ratio(static_cast<double>(all.num_tokens), all.seconds)))));
  facts.add("time", fmt::format("attention {}, plan {}, write_kv_cache {}",
                                format_percent(ratio(all.attention_seconds, all.seconds)),
                                format_percent(ratio(all.plan_seconds, all.seconds)),
                                format_percent(ratio(all.write_seconds, all.seconds))));
  facts.add("pages", fmt::format("{} of {} in use at the peak", format_count(report.peak_pages),
                                 format_count(report.num_pages)));
  facts.add("verified", verification(report));
  facts.add("ceilings", describe(report.ceilings));
  std::string text = fmt::format(
      "{}\n{}\n"
      "time: share of all steps' time. p50, p90, p99: percentiles of a step's time. GB/s: K and V "
      "that must be\nread once, q and out. roof: the least time by the ceilings / attention's "
      "time.\n",
      kind_table(summary), facts.text());
  for (const std::string& failure : report.failures) text += "FAILED " + failure + "\n";
  return text;
}

Json to_json(const ReplayReport& report) {
  const Summary summary = summarize(report);
  Json json = {{"num_requests", report.num_requests},
               {"num_finished", report.num_finished},
               {"elapsed_seconds", report.elapsed_seconds},
               {"tokens_per_second",
                ratio(static_cast<double>(summary.all.num_tokens), summary.all.seconds)},
               {"num_pages", report.num_pages},
               {"peak_pages", report.peak_pages},
               {"num_verified_steps", report.num_verified_steps},
               {"num_verified_tokens", report.num_verified_tokens},
               {"failures", report.failures},
               {"ceilings", to_json(report.ceilings)},
               {"all", to_json(summary.all, summary.all)}};
  for (int kind = 0; kind < kNumBatchKinds; ++kind) {
    json[name_of(static_cast<BatchKind>(kind))] = to_json(summary.by_kind[kind], summary.all);
  }
  return json;
}

}  // namespace pagoda::tools
