#include "workload.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace pagoda::bench {
namespace {

constexpr double kElementBytes = 2.0;  // of q and out
constexpr double kScaleBytes = 4.0;

}  // namespace

int64_t Workload::num_tokens() const {
  int64_t tokens = 0;
  for (const Sequence& s : sequences) tokens += s.q_len;
  return tokens;
}

double Workload::bytes() const {
  double keys = 0.0;
  for (const Sequence& s : sequences) {
    keys += window_left < 0 ? s.k_len : std::min(s.k_len, window_left + s.q_len);
  }
  const double row_bytes = kv_dtype == DType::kBFloat16
                               ? 2.0 * head_dim
                               : head_dim + (kv_dtype == DType::kInt8 ? kScaleBytes : 0.0);
  const double kv = 2.0 * keys * num_kv_heads * row_bytes;
  const double q_and_out =
      2.0 * static_cast<double>(num_tokens()) * num_q_heads * head_dim * kElementBytes;
  return kv + q_and_out;
}

double Workload::flops() const {
  double pairs = 0.0;
  for (const Sequence& s : sequences) {
    for (int32_t i = 0; i < s.q_len; ++i) {
      const int32_t before = s.k_len - s.q_len + i + 1;
      pairs += window_left < 0 ? before : std::min(before, window_left + 1);
    }
  }
  return 4.0 * pairs * num_q_heads * head_dim;
}

std::vector<Workload> load_workloads(const std::string& path, DType kv_dtype) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("workloads: cannot open " + path);
  std::vector<Workload> workloads;
  const nlohmann::json list = nlohmann::json::parse(file);
  for (const nlohmann::json& row : list.at("workloads")) {
    Workload w{.name = row.at("name"),
               .num_q_heads = row.at("num_q_heads"),
               .num_kv_heads = row.at("num_kv_heads"),
               .head_dim = row.at("head_dim"),
               .page_size = row.at("page_size"),
               .window_left = row.at("window_left"),
               .logits_soft_cap = row.value("logits_soft_cap", 0.0f),
               .kv_dtype = kv_dtype,
               .sequences = {}};
    for (const nlohmann::json& run : row.at("sequences")) {
      w.sequences.insert(w.sequences.end(), run.at(0).get<size_t>(), {run.at(1), run.at(2)});
    }
    workloads.push_back(std::move(w));
  }
  return workloads;
}

}  // namespace pagoda::bench
