#include <algorithm>
#include <cmath>
#include <functional>
#include <span>
#include <sstream>

#include "cases.h"
#include "cases_memory.h"
#include "oracle.h"
#include "oracle_formats.h"

namespace pagoda::testing {
namespace {

// How far a result may be from the truth, as multiples of how far the naive evaluation is.
constexpr double kMaxErrorFactor = 2.0;
constexpr double kMeanErrorFactor = 1.5;
constexpr double kScaleRelative = 1e-5;

// Values of one sequence: the truth, the naive evaluation's and the library's.
struct Values {
  std::span<const double> truth;
  std::span<const double> naive;
  std::span<const double> got;
  double least_scale;  // what 1e-5 is relative to, at least
  std::function<std::string(size_t index)> place;
};

// Worst first: how close to its bounds a sequence came.
double closeness(const Verdict& v) {
  const auto ratio = [](double error, double allowed) {
    return allowed > 0.0 ? error / allowed : 0.0;
  };
  return std::max(ratio(v.max_error, v.max_error_allowed),
                  ratio(v.mean_error, v.mean_error_allowed));
}

void allow(const Values& values, Verdict* verdict) {
  double scale = values.least_scale;
  double max_error = 0.0;
  double sum = 0.0;
  for (size_t i = 0; i < values.truth.size(); ++i) {
    if (!std::isfinite(values.truth[i])) continue;
    scale = std::max(scale, std::abs(values.truth[i]));
    const double error = std::abs(values.naive[i] - values.truth[i]);
    if (!std::isfinite(error)) continue;  // naive overflowed: it excuses nothing
    max_error = std::max(max_error, error);
    sum += error;
  }
  const double mean_error = sum / static_cast<double>(values.truth.size());
  verdict->max_error_allowed = kMaxErrorFactor * max_error + kScaleRelative * scale;
  verdict->mean_error_allowed = kMeanErrorFactor * mean_error + kScaleRelative * scale;
}

std::string mismatch(const Values& values, size_t i, const std::string& why) {
  std::ostringstream text;
  text.precision(9);
  text << values.place(i) << ": got " << values.got[i] << ", the truth is " << values.truth[i]
       << ", naive " << values.naive[i] << ": " << why;
  return text.str();
}

// Values that are not finite must be met exactly, all others within the bounds.
Verdict compare(const Values& values) {
  Verdict verdict;
  if (values.truth.empty()) return verdict;
  allow(values, &verdict);
  double sum = 0.0;
  const auto fail = [&](size_t i, const std::string& why) {
    if (verdict.message.empty()) verdict.message = mismatch(values, i, why);
  };
  for (size_t i = 0; i < values.truth.size(); ++i) {
    const double truth = values.truth[i];
    const double got = values.got[i];
    if (std::isnan(truth)) {
      if (!std::isnan(got)) fail(i, "NaN does not propagate");
    } else if (!std::isfinite(truth) || !std::isfinite(got)) {
      if (got != truth) fail(i, "one of them is not finite");
    } else {
      const double error = std::abs(got - truth);
      verdict.max_error = std::max(verdict.max_error, error);
      sum += error;
      if (error > verdict.max_error_allowed) {
        fail(i, "the error is " + std::to_string(error) + ", allowed are " +
                    std::to_string(verdict.max_error_allowed));
      }
    }
  }
  verdict.mean_error = sum / static_cast<double>(values.truth.size());
  if (verdict.message.empty() && verdict.mean_error > verdict.mean_error_allowed) {
    std::ostringstream text;
    text << values.place(0) << " and the rest of its sequence: the mean error is "
         << verdict.mean_error << ", allowed are " << verdict.mean_error_allowed;
    verdict.message = text.str();
  }
  return verdict;
}

// Rows without a visible key hold zeros, and the sink or -inf, to the bit.
std::string compare_empty_rows(const OracleResult& truth, const std::vector<double>& out,
                               const std::vector<double>& lse) {
  const size_t num_tokens = truth.written.size();
  for (size_t token = 0; token < num_tokens; ++token) {
    if (!truth.written[token] || truth.visible_keys[token] > 0) continue;
    const std::string row = "token " + std::to_string(token) + " sees no key: ";
    const size_t elements = out.size() / num_tokens;
    for (size_t i = token * elements; i < (token + 1) * elements; ++i) {
      if (out[i] != 0.0) return row + "out is " + std::to_string(out[i]) + ", wants 0";
    }
    const size_t heads = lse.size() / num_tokens;
    for (size_t i = token * heads; i < (token + 1) * heads; ++i) {
      if (lse[i] != truth.lse[i]) {
        return row + "lse is " + std::to_string(lse[i]) + ", wants " + std::to_string(truth.lse[i]);
      }
    }
  }
  return {};
}

std::vector<double> decode_out(const AttentionProblem& problem) {
  const TensorView& out = problem.out;
  std::vector<double> values;
  values.reserve(out.num_elements());
  for (int64_t token = 0; token < out.shape[0]; ++token) {
    for (int64_t head = 0; head < out.shape[1]; ++head) {
      for (int64_t d = 0; d < out.shape[2]; ++d) {
        values.push_back(decode(out.dtype, element(out, token, head, d)));
      }
    }
  }
  return values;
}

// As [num_tokens, num_q_heads]; empty if the problem wants none.
std::vector<double> decode_lse(const AttentionProblem& problem) {
  std::vector<double> values;
  if (!problem.lse.present()) return values;
  const bool tokens_first = problem.lse_layout == LseLayout::kTokensHeads;
  for (int64_t token = 0; token < problem.out.shape[0]; ++token) {
    for (int64_t head = 0; head < problem.out.shape[1]; ++head) {
      values.push_back(
          element_as<float>(problem.lse, tokens_first ? token : head, tokens_first ? head : token));
    }
  }
  return values;
}

}  // namespace

Verdict verify(const BuiltCase& built) {
  const AttentionProblem& problem = built.problem();
  const OracleResult truth = run_oracle(problem, Precision::kDouble);
  const OracleResult naive = run_oracle(problem, Precision::kNaive);
  const std::vector<double> out = decode_out(problem);
  const std::vector<double> lse = decode_lse(problem);

  Verdict verdict;
  verdict.message = built.stray_write(truth.written);
  if (verdict.message.empty()) verdict.message = compare_empty_rows(truth, out, lse);

  const auto keep_worst = [&](const Verdict& of_sequence) {
    const std::string first =
        verdict.message.empty() ? of_sequence.message : std::move(verdict.message);
    if (closeness(of_sequence) >= closeness(verdict)) verdict = of_sequence;
    verdict.message = first;
  };
  const auto heads = static_cast<size_t>(problem.q.shape[1]);
  const auto head_dim = static_cast<size_t>(problem.q.shape[2]);
  size_t first_token = 0;
  for (const auto& seq : built.spec().seqs) {
    const auto compare_part = [&](const char* name, size_t width, double least_scale,
                                  const std::vector<double>& expected,
                                  const std::vector<double>& by_naive,
                                  const std::vector<double>& got) {
      const size_t begin = first_token * heads * width;
      const size_t count = seq.first * heads * width;
      const auto place = [&](size_t i) {
        const size_t row = begin / width + i / width;
        return std::string(name) + " of token " + std::to_string(row / heads) + " (query " +
               std::to_string(row / heads - first_token) + " of a " + std::to_string(seq.first) +
               "x" + std::to_string(seq.second) + " sequence), head " +
               std::to_string(row % heads) + ", channel " + std::to_string(i % width);
      };
      keep_worst(compare({std::span(expected).subspan(begin, count),
                          std::span(by_naive).subspan(begin, count),
                          std::span(got).subspan(begin, count), least_scale, place}));
    };
    compare_part("out", head_dim, 0.0, truth.out, naive.out, out);
    // A logarithm's absolute error is the relative error of what it is taken of.
    if (!lse.empty()) compare_part("lse", 1, 1.0, truth.lse, naive.lse, lse);
    first_token += seq.first;
  }
  verdict.ok = verdict.message.empty();
  return verdict;
}

}  // namespace pagoda::testing
