#include "compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "oracle.h"
#include "oracle_formats.h"

namespace pagoda::tools {
namespace {

double element(const TensorView& view, int64_t i, int64_t j, int64_t k = 0) {
  const int64_t offset = i * view.stride[0] + j * view.stride[1] + k * view.stride[2];
  return testing::decode(view.dtype, static_cast<const char*>(view.data) +
                                         offset * static_cast<int64_t>(size_of(view.dtype)));
}

// Errors of one output tensor, gathered element by element.
class Errors {
 public:
  // `least_scale`: what 1e-5 is relative to, at least.
  Errors(const char* name, double least_scale) : name_(name), scale_(least_scale) {}

  // `where` is called for a place to name.
  template <class Where>
  void add(double exact, double naive, double got, Where where) {
    if (!std::isfinite(exact)) {
      const bool same = std::isnan(exact) ? std::isnan(got) : got == exact;
      if (!same && wrong_value_.empty()) {
        wrong_value_ = fmt::format("{}{}: got {}, wants {}", name_, where(), got, exact);
      }
      return;
    }
    ++count_;
    scale_ = std::max(scale_, std::abs(exact));
    const double error = std::abs(got - exact);
    sum_ += error;
    if (!(error <= max_)) {  // a NaN, too
      max_ = std::isnan(error) ? INFINITY : error;
      worst_ = fmt::format("{}{}: got {}, wants {}", name_, where(), got, exact);
    }
    // Where the naive evaluation overflows it allows nothing.
    const double naive_error = std::abs(naive - exact);
    if (!std::isfinite(naive_error)) return;
    naive_max_ = std::max(naive_max_, naive_error);
    naive_sum_ += naive_error;
  }

  double max() const { return max_; }
  double max_allowed() const { return 2.0 * naive_max_ + 1e-5 * scale_; }

  // Empty if all is well.
  std::string failure() const {
    if (!wrong_value_.empty()) return wrong_value_;
    if (!(max_ <= max_allowed())) {
      return fmt::format("{}, error {:.3g}, allowed {:.3g}", worst_, max_, max_allowed());
    }
    const double count = static_cast<double>(std::max<int64_t>(1, count_));
    const double mean_allowed = 1.5 * naive_sum_ / count + 1e-5 * scale_;
    if (!(sum_ / count <= mean_allowed)) {
      return fmt::format("{}: mean error {:.3g}, allowed {:.3g}", name_, sum_ / count,
                         mean_allowed);
    }
    return "";
  }

 private:
  const char* name_;
  double scale_;
  int64_t count_ = 0;
  double max_ = 0.0;
  double sum_ = 0.0;
  double naive_max_ = 0.0;
  double naive_sum_ = 0.0;
  std::string worst_;
  std::string wrong_value_;
};

}  // namespace

Comparison compare_with_oracle(const AttentionProblem& problem,
                               const std::vector<int32_t>& tokens) {
  Comparison result;
  if (tokens.empty()) return result;
  const auto exact = testing::run_oracle(problem, testing::Precision::kDouble, tokens);
  const auto naive = testing::run_oracle(problem, testing::Precision::kNaive, tokens);
  const int64_t num_heads = problem.q.shape[1];
  const int64_t head_dim = problem.q.shape[2];
  const bool heads_first = problem.lse_layout == LseLayout::kHeadsTokens;
  Errors out("out", 0.0);
  Errors lse("lse", 1.0);  // a difference of logarithms is a relative error already
  for (const int64_t token : tokens) {
    if (exact.written[static_cast<size_t>(token)] == 0) continue;
    ++result.num_tokens;
    for (int64_t head = 0; head < num_heads; ++head) {
      const int64_t row = token * num_heads + head;
      for (int64_t d = 0; d < head_dim; ++d) {
        const auto i = static_cast<size_t>(row * head_dim + d);
        out.add(exact.out[i], naive.out[i], element(problem.out, token, head, d),
                [&] { return fmt::format("[{}, {}, {}]", token, head, d); });
      }
      if (!problem.lse.present()) continue;
      const double got =
          heads_first ? element(problem.lse, head, token) : element(problem.lse, token, head);
      lse.add(exact.lse[static_cast<size_t>(row)], naive.lse[static_cast<size_t>(row)], got,
              [&] { return fmt::format(" of token {}, head {}", token, head); });
    }
  }
  result.max_error = out.max();
  result.max_error_allowed = out.max_allowed();
  result.message = !out.failure().empty() ? out.failure() : lse.failure();
  result.ok = result.message.empty();
  return result;
}

std::vector<int32_t> spread_tokens(int64_t num_tokens, int64_t count) {
  std::vector<int32_t> tokens;
  const int64_t wanted = std::min(num_tokens, count);
  for (int64_t i = 1; i <= wanted; ++i) {
    tokens.push_back(static_cast<int32_t>(i * num_tokens / wanted - 1));
  }
  return tokens;
}

}  // namespace pagoda::tools
