#include "kv_oracle.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "oracle_formats.h"

namespace pagoda::testing {
namespace {

constexpr double kFloatEpsilon = 0x1p-23;

double get(const TensorView& view, int64_t i, int64_t j = 0, int64_t k = 0) {
  return decode(view.dtype, element(view, i, j, k));
}

}  // namespace

OracleRow stored_row(const TensorView& rows, int64_t i, int64_t j) {
  OracleRow row;
  for (int64_t d = 0; d < rows.shape[2]; ++d) row.values.push_back(get(rows, i, j, d));
  row.errors.assign(row.values.size(), 0.0);
  return row;
}

OracleRow rotated_row(const TensorView& rows, int64_t i, int64_t j, const Rope& rope) {
  OracleRow row = stored_row(rows, i, j);
  const int64_t position = element_as<int64_t>(rope.positions, i);
  const int64_t half = rope.cos_sin.shape[1] / 2;
  for (int64_t pair = 0; pair < half; ++pair) {
    const auto first = static_cast<size_t>(rope.interleaved ? 2 * pair : pair);
    const auto second = static_cast<size_t>(rope.interleaved ? 2 * pair + 1 : pair + half);
    const double c = get(rope.cos_sin, position, pair);
    const double s = get(rope.cos_sin, position, half + pair);
    const double a = row.values[first];
    const double b = row.values[second];
    row.values[first] = a * c - b * s;
    row.values[second] = b * c + a * s;
    row.errors[first] = 2 * kFloatEpsilon * (std::abs(a * c) + std::abs(b * s));
    row.errors[second] = 2 * kFloatEpsilon * (std::abs(b * c) + std::abs(a * s));
  }
  return row;
}

float* lse_at(const TensorView& lse, int64_t token, int64_t head, LseLayout layout) {
  const bool heads_first = layout == LseLayout::kHeadsTokens;
  return static_cast<float*>(heads_first ? element(lse, head, token) : element(lse, token, head));
}

OracleMerge merged_row(const std::vector<AttentionState>& states, int64_t token, int64_t head,
                       LseLayout layout) {
  constexpr double kNothing = -std::numeric_limits<double>::infinity();
  std::vector<double> lses;
  double largest = kNothing;
  for (const AttentionState& state : states) {
    const double lse = *lse_at(state.lse, token, head, layout);
    lses.push_back(std::isnan(lse) || lse > std::numeric_limits<float>::max() ? kNothing : lse);
    largest = std::max(largest, lses.back());
  }
  double sum = 0.0;
  for (double lse : lses) sum += largest == kNothing ? 0.0 : std::exp(lse - largest);
  const auto head_dim = static_cast<size_t>(states[0].out.shape[2]);
  OracleMerge merged{{std::vector<double>(head_dim), std::vector<double>(head_dim)},
                     sum == 0.0 ? kNothing : largest + std::log(sum)};
  for (size_t i = 0; i < states.size(); ++i) {
    if (lses[i] == kNothing) continue;
    const double weight = std::exp(lses[i] - largest) / sum;
    const OracleRow row = stored_row(states[i].out, token, head);
    for (size_t d = 0; d < head_dim; ++d) {
      merged.out.values[d] += weight * row.values[d];
      // An exponent's rounding error grows with it, a sum's with the number of terms.
      const double roundings = 4.0 + static_cast<double>(states.size()) + (largest - lses[i]);
      merged.out.errors[d] += roundings * kFloatEpsilon * std::abs(weight * row.values[d]);
    }
  }
  return merged;
}

bool is_rounding_of(DType dtype, const void* element, double value, double error) {
  const double got = decode(dtype, element);
  if (std::isnan(value)) return dtype == DType::kInt8 ? got == 0.0 : std::isnan(got);
  double low = value - error;
  double high = value + error;
  if (size_of(dtype) == 1) {
    low = std::clamp(low, -max_finite(dtype), max_finite(dtype));
    high = std::clamp(high, -max_finite(dtype), max_finite(dtype));
  }
  return got >= round_to(dtype, low) && got <= round_to(dtype, high);
}

void set_element(const TensorView& view, double value, int64_t i, int64_t j, int64_t k, int64_t l) {
  encode(view.dtype, value, element(view, i, j, k, l));
}

TensorView slice(TensorView view, int axis, int64_t first, int64_t count) {
  int64_t index[kMaxRank] = {};
  index[axis] = first;
  view.data = element(view, index[0], index[1], index[2], index[3]);
  view.shape[axis] = count;
  return view;
}

WatchedTensor::WatchedTensor(DType dtype, const std::vector<int64_t>& shape,
                             const Placement& placement)
    : view_(placed(dtype, shape, placement)), buffer_(bytes_spanned(view_), kGuardBytes) {
  view_.data = buffer_.data();
  watch();
}

void WatchedTensor::watch() {
  before_.assign(buffer_.data(), buffer_.data() + buffer_.size());
  is_allowed_.assign(buffer_.size(), 0);
}

void WatchedTensor::allow(const void* begin, DType dtype, int64_t count) {
  const std::less<const void*> is_before;
  if (is_before(begin, buffer_.data()) || !is_before(begin, buffer_.data() + buffer_.size()))
    return;
  const int64_t first = static_cast<const uint8_t*>(begin) - buffer_.data();
  const int64_t bytes = count * static_cast<int64_t>(size_of(dtype));
  std::fill_n(is_allowed_.begin() + first, bytes, 1);
}

bool WatchedTensor::rest_is_intact() const {
  for (size_t i = 0; i < before_.size(); ++i) {
    if (is_allowed_[i] == 0 && buffer_.data()[i] != before_[i]) return false;
  }
  return buffer_.guards_intact();
}

WatchedPages::WatchedPages(DType dtype, const std::vector<int64_t>& shape, PagesLayout layout) {
  const bool is_shared = layout == PagesLayout::kInterleaved;
  const int64_t head_dim = shape[3];
  Placement placement;
  if (layout == PagesLayout::kHnd) placement.order = {0, 2, 1, 3};
  if (layout == PagesLayout::kPadded) placement.gap = 5;
  std::vector<int64_t> tensor_shape = shape;
  if (is_shared) tensor_shape[3] *= 2;
  for (int i = 0; i < (is_shared ? 1 : 2); ++i)
    tensors_.emplace_back(dtype, tensor_shape, placement);
  k_ = slice(tensors_.front().view(), 3, 0, head_dim);
  v_ = slice(tensors_.back().view(), 3, is_shared ? head_dim : 0, head_dim);
}

void WatchedPages::watch() {
  for (WatchedTensor& tensor : tensors_) tensor.watch();
}

void WatchedPages::allow(const void* begin, DType dtype, int64_t count) {
  for (WatchedTensor& tensor : tensors_) tensor.allow(begin, dtype, count);
}

bool WatchedPages::rest_is_intact() const {
  return std::all_of(tensors_.begin(), tensors_.end(),
                     [](const WatchedTensor& tensor) { return tensor.rest_is_intact(); });
}

}  // namespace pagoda::testing
