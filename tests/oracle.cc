#include "oracle.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>

#include "cases_memory.h"
#include "oracle_formats.h"
#include "oracle_mask.h"

namespace pagoda::testing {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

// Rows that are computed together, so that K and V are read from memory less often.
constexpr int64_t kBlockRows = 8;

// Real = double is the truth; Real = float is the naive evaluation, which rounds as it goes.
template <class Real>
constexpr bool kRounds = std::is_same_v<Real, float>;

DType naive_dtype(const AttentionProblem& problem) {
  return problem.q.dtype == DType::kFloat8E4M3 ? DType::kBFloat16 : problem.q.dtype;
}

template <class Real>
Real rounded(DType dtype, double value) {
  return static_cast<Real>(kRounds<Real> ? round_to(dtype, value) : value);
}

double decode_at(const TensorView& view, int64_t offset) {
  return decode(view.dtype, static_cast<const char*>(view.data) +
                                offset * static_cast<int64_t>(size_of(view.dtype)));
}

// One element, [num_kv_heads] or [num_seqs, num_kv_heads]; absent = 1.
double scale_of(const TensorView& scale, int64_t seq, int64_t kv_head) {
  if (!scale.present()) return 1.0;
  if (scale.num_elements() == 1) return at<float>(scale, 0);
  return scale.rank == 1 ? at<float>(scale, kv_head) : at<float>(scale, seq, kv_head);
}

int64_t page_of(const PagedKvCache& kv, int64_t seq, int64_t column) {
  if (kv.block_table.present()) return at<int32_t>(kv.block_table, seq, column);
  return at<int32_t>(kv.page_indices, at<int32_t>(kv.page_indptr, seq) + column);
}

// K and V of one sequence and KV head, gathered from their pages and dequantised. The truth applies
// the scales of K to dot products, as the contract has it; the naive evaluation rounds scaled keys.
template <class Real>
struct Gathered {
  std::vector<Real> k;          // [head_dim, k_len]: the inner loop of a score runs over keys
  std::vector<Real> v;          // [k_len, head_dim]
  std::vector<Real> dot_scale;  // [k_len]
};

template <class Real>
Gathered<Real> gather(const AttentionProblem& problem, const OracleSequence& s, int64_t kv_head) {
  const PagedKvCache& kv = problem.kv;
  const int64_t page_size = kv.k_pages.shape[1];
  const int64_t head_dim = problem.q.shape[2];
  const DType dtype = naive_dtype(problem);
  const double k_scale = scale_of(kv.k_scale, s.index, kv_head);
  const double v_scale = scale_of(kv.v_scale, s.index, kv_head);
  Gathered<Real> result{std::vector<Real>(head_dim * s.k_len),
                        std::vector<Real>(head_dim * s.k_len), std::vector<Real>(s.k_len, Real(1))};
  for (int64_t t = 0; t < s.k_len; ++t) {
    const int64_t page = page_of(kv, s.index, t / page_size);
    const int64_t slot = t % page_size;
    const auto row_offset = [&](const TensorView& pages) {
      return page * pages.stride[0] + slot * pages.stride[1] + kv_head * pages.stride[2];
    };
    const auto token_scale = [&](const TensorView& scale) {
      return scale.present() ? at<float>(scale, page, slot, kv_head) : 1.0;
    };
    const double key_scale = k_scale * token_scale(kv.k_token_scale);
    const double k_factor = kRounds<Real> ? key_scale : 1.0;
    if (!kRounds<Real>) result.dot_scale[t] = static_cast<Real>(key_scale);
    const double v_factor = v_scale * token_scale(kv.v_token_scale);
    for (int64_t d = 0; d < head_dim; ++d) {
      const double k = decode_at(kv.k_pages, row_offset(kv.k_pages) + d) * k_factor;
      const double v = decode_at(kv.v_pages, row_offset(kv.v_pages) + d) * v_factor;
      result.k[d * s.k_len + t] = rounded<Real>(dtype, k);
      result.v[t * head_dim + d] = rounded<Real>(dtype, v);
    }
  }
  return result;
}

// One query row of one head on its way from q to out.
template <class Real>
struct Row {
  int64_t i;  // query token of the sequence
  int64_t q_head;
  std::vector<uint8_t> visible;  // [k_len]
  std::vector<Real> q;           // [head_dim]
  std::vector<Real> logits;      // [k_len]; the weights P after softmax()
  std::vector<Real> out;         // [head_dim]
  Real lse;
};

template <class Real>
Row<Real> make_row(const AttentionProblem& problem, const OracleSequence& s, int64_t i,
                   int64_t q_head) {
  const int64_t head_dim = problem.q.shape[2];
  Row<Real> row{.i = i,
                .q_head = q_head,
                .visible = visible_keys(problem, s, i),
                .q = std::vector<Real>(head_dim),
                .logits = std::vector<Real>(s.k_len),
                .out = std::vector<Real>(head_dim),
                .lse = Real(-kInf)};
  const TensorView& q = problem.q;
  const int64_t offset = (s.first_token + i) * q.stride[0] + q_head * q.stride[1];
  for (int64_t d = 0; d < head_dim; ++d) row.q[d] = static_cast<Real>(decode_at(q, offset + d));
  return row;
}

// Steps 1 to 4 of the contract, for one dot product.
template <class Real>
Real logit(const AttentionProblem& problem, const OracleSequence& s, const Row<Real>& row,
           int64_t t, Real scaled_dot) {
  Real x = scaled_dot;
  if (problem.logits_soft_cap > 0.0f) {
    const Real cap = problem.logits_soft_cap;
    x = cap * std::tanh(x / cap);
  }
  const int64_t distance = t - (s.context_len() + row.i);
  if (problem.alibi_slopes.present()) {
    const Real slope = at<float>(problem.alibi_slopes, row.q_head);
    if (!problem.alibi_sqrt) {
      x += slope * static_cast<Real>(distance);
    } else if (distance <= 0) {
      x -= slope * std::sqrt(static_cast<Real>(-distance));
    }
  }
  return x + static_cast<Real>(bias_of(problem, s, row.i, t));
}

// Steps 5 and 6: logits become weights.
template <class Real>
void softmax(const AttentionProblem& problem, const OracleSequence& s, Real scale,
             const std::vector<Real>& dot_scale, Row<Real>* row) {
  Real sink = Real(-kInf);
  if (problem.sinks.present()) {
    sink = static_cast<Real>(decode_at(problem.sinks, row->q_head * problem.sinks.stride[0]));
  }
  Real max = sink;
  for (int64_t t = 0; t < s.k_len; ++t) {
    if (!row->visible[t]) continue;
    row->logits[t] = logit(problem, s, *row, t, scale * dot_scale[t] * row->logits[t]);
    max = std::max(max, row->logits[t]);
  }
  if (max == Real(-kInf)) max = 0;  // no term at all: keep -inf - max from being NaN
  Real sum = std::exp(sink - max);
  for (int64_t t = 0; t < s.k_len; ++t) {
    if (!row->visible[t]) continue;
    row->logits[t] = std::exp(row->logits[t] - max);
    sum += row->logits[t];
  }
  row->lse = max + std::log(sum);
  if (sum == 0) sum = 1;
  for (Real& weight : row->logits) {
    weight = rounded<Real>(naive_dtype(problem), weight / sum);
  }
}

std::vector<int64_t> channels_in_order(int64_t head_dim, uint32_t order) {
  std::vector<int64_t> channels(head_dim);
  std::iota(channels.begin(), channels.end(), 0);
  if (order != 0) Random(order, "channels").shuffle(&channels);
  return channels;
}

template <class Real>
void attend(const AttentionProblem& problem, const OracleSequence& s, const Gathered<Real>& kv,
            int64_t kv_head, uint32_t order, std::vector<Row<Real>>* rows) {
  const int64_t head_dim = problem.q.shape[2];
  int64_t begin = s.k_len;  // keys that some row sees lie in [begin, end)
  int64_t end = 0;
  for (const Row<Real>& row : *rows) {
    const auto& seen = row.visible;
    begin = std::min<int64_t>(begin, std::find(seen.begin(), seen.end(), 1) - seen.begin());
    end = std::max<int64_t>(end, seen.rend() - std::find(seen.rbegin(), seen.rend(), 1));
  }
  for (const int64_t d : channels_in_order(head_dim, order)) {
    const Real* k = kv.k.data() + d * s.k_len;
    for (Row<Real>& row : *rows) {
      const Real q = row.q[d];
      Real* logits = row.logits.data();
      for (int64_t t = begin; t < end; ++t) logits[t] += q * k[t];
    }
  }
  const double softmax_scale = problem.softmax_scale != 0.0f
                                   ? problem.softmax_scale
                                   : 1.0 / std::sqrt(static_cast<double>(head_dim));
  const auto scale = static_cast<Real>(softmax_scale * scale_of(problem.q_scale, s.index, kv_head));
  for (Row<Real>& row : *rows) softmax(problem, s, scale, kv.dot_scale, &row);
  for (int64_t t = begin; t < end; ++t) {
    const Real* v = &kv.v[t * head_dim];
    for (Row<Real>& row : *rows) {
      if (!row.visible[t]) continue;
      const Real weight = row.logits[t];
      Real* out = row.out.data();
      for (int64_t d = 0; d < head_dim; ++d) out[d] += weight * v[d];
    }
  }
}

// Step 7: v_scale is in V already.
template <class Real>
void store(const AttentionProblem& problem, const OracleSequence& s, const Row<Real>& row,
           OracleResult* result) {
  const DType dtype = problem.out.dtype;
  const int64_t token = s.first_token + row.i;
  const int64_t index = token * problem.q.shape[1] + row.q_head;
  const Real out_scale = problem.out_scale.present() ? at<float>(problem.out_scale, 0) : 1.0f;
  for (size_t d = 0; d < row.out.size(); ++d) {
    double value = row.out[d] / out_scale;
    if (dtype == DType::kFloat8E4M3 && !std::isnan(value)) {
      value = std::clamp(value, -max_finite(dtype), max_finite(dtype));
    }
    result->out[index * row.out.size() + d] = rounded<Real>(dtype, value);
  }
  result->lse[index] = row.lse;
  result->written[token] = 1;
  result->visible_keys[token] =
      static_cast<int32_t>(std::count(row.visible.begin(), row.visible.end(), 1));
}

// All rows of one sequence and KV head; packed row r is token r / group, head r % group.
template <class Real>
void run_head(const AttentionProblem& problem, const OracleSequence& s, int64_t kv_head,
              const std::vector<uint8_t>& wanted, uint32_t order, OracleResult* result) {
  const int64_t group = problem.q.shape[1] / problem.kv.k_pages.shape[2];
  const Gathered<Real> kv = gather<Real>(problem, s, kv_head);
  std::vector<Row<Real>> rows;
  const auto flush = [&] {
    attend(problem, s, kv, kv_head, order, &rows);
    for (const Row<Real>& row : rows) store(problem, s, row, result);
    rows.clear();
  };
  for (int64_t r = 0; r < s.q_len * group; ++r) {
    if (!wanted[s.first_token + r / group]) continue;
    rows.push_back(make_row<Real>(problem, s, r / group, kv_head * group + r % group));
    if (static_cast<int64_t>(rows.size()) == kBlockRows) flush();
  }
  flush();
}

}  // namespace

OracleResult run_oracle(const AttentionProblem& problem, Precision precision,
                        const std::vector<int32_t>& tokens, uint32_t order) {
  const int64_t num_tokens = problem.q.shape[0];
  const int64_t num_rows = num_tokens * problem.q.shape[1];
  OracleResult result;
  result.out.resize(num_rows * problem.q.shape[2]);
  result.lse.resize(num_rows, -kInf);
  result.visible_keys.resize(num_tokens);
  result.written.resize(num_tokens);
  std::vector<uint8_t> wanted(num_tokens, tokens.empty() ? 1 : 0);
  for (int32_t token : tokens) wanted[token] = 1;

  for (int64_t seq = 0; seq < problem.seqused_k.shape[0]; ++seq) {
    const int64_t first = at<int32_t>(problem.cu_seqlens_q, seq);
    const int64_t q_len = at<int32_t>(problem.cu_seqlens_q, seq + 1) - first;
    const OracleSequence s{seq, first, q_len, at<int32_t>(problem.seqused_k, seq)};
    const auto rows = wanted.begin() + first;
    if (std::find(rows, rows + q_len, 1) == rows + q_len) continue;
    for (int64_t kv_head = 0; kv_head < problem.kv.k_pages.shape[2]; ++kv_head) {
      if (precision == Precision::kDouble) {
        run_head<double>(problem, s, kv_head, wanted, order, &result);
      } else {
        run_head<float>(problem, s, kv_head, wanted, order, &result);
      }
    }
  }
  return result;
}

}  // namespace pagoda::testing
