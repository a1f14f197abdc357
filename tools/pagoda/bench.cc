// pagoda bench: how long batches take, and how near that is to what the machine can do.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "batch_spec.h"
#include "ceilings_option.h"
#include "commands.h"
#include "execution.h"
#include "geometry.h"
#include "json_output.h"
#include "measure.h"
#include "progress.h"
#include "table.h"
#include "units.h"

namespace pagoda::tools {
namespace {

struct BenchOptions {
  std::vector<std::string> batches;
  std::string preset;
  Geometry geometry;
  MeasureOptions measure;
  CeilingsOption ceilings;
  Output results;
};

const std::map<std::string, std::vector<std::string>> kPresets = {
    {"decode", {"1q1s8k", "8q1s4k", "32q1s1k"}},
    {"prefill", {"q512", "q2k", "q512s4k"}},
    {"mixed", {"q512_8q1s4k", "q256s4k_16q1s2k"}},
};

// The batches named one by one and by preset; one of each kind if none is named.
std::vector<std::string> wanted_batches(const BenchOptions& options) {
  std::vector<std::string> batches = options.batches;
  if (!options.preset.empty()) {
    const std::vector<std::string>& preset = kPresets.at(options.preset);
    batches.insert(batches.end(), preset.begin(), preset.end());
  }
  if (!batches.empty()) return batches;
  for (const auto& [name, preset] : kPresets) batches.push_back(preset.front());
  return batches;
}

// A batch, and what the machine could do just before and just after it.
struct Row {
  std::string batch;
  Measurement m;
  Ceilings before;
  Ceilings after;

  Ceilings ceilings() const { return higher(before, after); }
  Roof roof() const { return ceilings().roof(m.bytes, m.flops, m.kernel); }
  double roof_share() const { return roof().seconds / m.attention_seconds; }
};

void add_row(const Row& row, Table* table) {
  const Measurement& m = row.m;
  table->add_row({row.batch, format_seconds(m.attention_seconds), format_seconds(m.fastest_seconds),
                  format_seconds(m.plan_seconds),
                  fmt::format("{:.1f}", m.bytes / m.attention_seconds / 1e9),
                  fmt::format("{:.3f}", m.flops / m.attention_seconds / 1e12),
                  format_percent(row.roof_share()), row.ceilings().text_of(row.roof().bound),
                  format_count(m.num_calls), std::to_string(m.num_kv_sets)});
}

Json to_json(const Row& row) {
  const Measurement& m = row.m;
  return {{"batch", row.batch},
          {"seconds", m.attention_seconds},
          {"fastest_seconds", m.fastest_seconds},
          {"plan_seconds", m.plan_seconds},
          {"bytes", m.bytes},
          {"flops", m.flops},
          {"gb_per_s", m.bytes / m.attention_seconds / 1e9},
          {"tflop_per_s", m.flops / m.attention_seconds / 1e12},
          {"roof_share", row.roof_share()},
          {"roof", row.ceilings().text_of(row.roof().bound)},
          {"ceilings_before", to_json(row.before)},
          {"ceilings_after", to_json(row.after)},
          {"num_calls", m.num_calls},
          {"num_kv_sets", m.num_kv_sets},
          {"kernel", m.kernel},
          {"num_workers", m.num_workers}};
}

void bench(BenchOptions& options) {
  const std::vector<std::string> batches = wanted_batches(options);
  std::vector<std::vector<SeqLengths>> seqs;
  for (const std::string& batch : batches) seqs.push_back(parse_batch_spec(batch));
  Table table({"batch", "time", "fastest", "plan", "GB/s", "TFLOP/s", "share", "of the roof",
               "calls", "KV sets"});
  Json rows;
  Ceilings best;
  {
    ProgressLine progress;
    Ceilings before = options.ceilings.now();
    best = before;
    for (size_t i = 0; i < batches.size(); ++i) {
      progress.show(fmt::format("batch {} of {}: {}", i + 1, batches.size(), batches[i]));
      const Measurement m = measure(options.geometry, seqs[i], options.measure);
      const Row row{batches[i], m, before, options.ceilings.now()};
      add_row(row, &table);
      rows.push_back(to_json(row));
      before = row.after;
      best = higher(best, before);
    }
  }
  options.results.print(
      fmt::format("{}\nceilings, the highest of the run: {}\n\n{}\n"
                  "time: median of the calls, each over K and V that no cache holds. GB/s: K and V "
                  "that must be read\nonce, q and out. share: the least time by the ceilings / "
                  "time; the ceilings are the higher ones\nof just before and just after the "
                  "batch, and the one that binds is named.\n",
                  describe(options.geometry), describe(best), table.text()));
  options.results.write({{"version", PAGODA_VERSION},
                         {"geometry", to_json(options.geometry)},
                         {"ceilings", to_json(best)},
                         {"batches", rows}});
}

}  // namespace

void add_bench_command(CLI::App* app) {
  CLI::App* command = app->add_subcommand("bench", "Time batches");
  const auto options = std::make_shared<BenchOptions>();
  command->add_option("BATCH", options->batches,
                      "Groups [count]q<new tokens>[s<KV tokens>] joined by _; k = 1024");
  command->add_option("--preset", options->preset, "decode, prefill or mixed")
      ->check(CLI::IsMember({"decode", "prefill", "mixed"}))
      ->option_text("NAME");
  add_geometry_options(command, &options->geometry);
  command->add_option("--min-time", options->measure.min_seconds, "Seconds to measure each batch")
      ->check(CLI::Range(0.0, 3600.0))
      ->option_text("S=1");
  command->add_option("--seed", options->measure.seed, "Of data and page order")
      ->option_text("N=1");
  options->ceilings.add_option(command);
  add_threads_option(command);
  options->results.add_option(command);
  command->footer(
      "Example: 2 prefills of 2048 tokens with 32 decodes at 4096 tokens of KV:\n"
      "  pagoda bench 2q2k_32q1s4k --heads 32/8 --kv-dtype e4m3");
  command->callback([options] { bench(*options); });
}

}  // namespace pagoda::tools
