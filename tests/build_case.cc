#include <algorithm>
#include <cmath>
#include <limits>

#include "build_case_parts.h"
#include "cases.h"
#include "cases_memory.h"
#include "oracle_formats.h"

namespace pagoda::testing {
namespace {

// What the one large channel of q and K holds; exact in every float format.
constexpr double kLargeChannel = 384.0;
// What all channels of q and K grow by.
constexpr double kLargeFactor = 100.0;

bool is_large_channel(const Case& c, int64_t d) {
  return has_large_channel(c) && Random(c.seed, "large channel").below(c.head_dim) == d;
}

// Rows of [num_tokens, num_q_heads, head_dim]; every fifth seed lays out heads first.
Placement row_placement(const Case& c) {
  return {.order = c.seed % 5 == 3 ? std::vector<int>{1, 0, 2} : std::vector<int>{0, 1, 2},
          .gap = has_gaps(c) ? kRowGap : 0};
}

TensorView make_queries(const Case& c, TensorPool* pool) {
  Random random(c.seed, "queries");
  TensorView q = pool->make(c.q_dtype, {total_q(c) + c.padding_rows, c.num_q_heads, c.head_dim},
                            row_placement(c));
  const double scale = nominal_scale(c, c.scales, c.q_dtype);
  for (int64_t token = 0; token < total_q(c); ++token) {
    for (int64_t head = 0; head < c.num_q_heads; ++head) {
      for (int64_t d = 0; d < c.head_dim; ++d) {
        encode(c.q_dtype, draw_query(c, d, &random) / scale, element(q, token, head, d));
      }
    }
  }
  return q;
}

// One element of the middle token of every sequence.
void spoil_queries(const Case& c, const TensorView& q) {
  Random random(c.seed, "spoiled queries");
  int64_t first = 0;
  for (const auto& seq : c.seqs) {
    if (seq.first > 0) {
      encode(
          c.q_dtype, std::numeric_limits<double>::quiet_NaN(),
          element(q, first + seq.first / 2, random.below(c.num_q_heads), random.below(c.head_dim)));
    }
    first += seq.first;
  }
}

void make_lengths(const Case& c, TensorPool* pool, AttentionProblem* problem) {
  const auto num_seqs = static_cast<int64_t>(c.seqs.size());
  problem->cu_seqlens_q = pool->make(DType::kInt32, {num_seqs + 1});
  problem->seqused_k = pool->make(DType::kInt32, {num_seqs});
  int32_t first = 0;
  for (int64_t s = 0; s < num_seqs; ++s) {
    element_as<int32_t>(problem->cu_seqlens_q, s) = first;
    element_as<int32_t>(problem->seqused_k, s) = c.seqs[s].second;
    first += c.seqs[s].first;
  }
  element_as<int32_t>(problem->cu_seqlens_q, num_seqs) = first;
  // Bounds are left out, exact or (the query's) generous.
  if (c.seed % 3 != 0) problem->max_seqlen_q = longest_q(c) + (c.seed % 3 == 1 ? 0 : 7);
  if (c.seed % 2 != 0) problem->max_seqlen_k = longest_k(c);
}

void mark(const TensorView& view, int64_t i, int64_t j, int64_t count, std::vector<bool>* marked) {
  const auto begin = static_cast<uint8_t*>(element(view, i, j)) - static_cast<uint8_t*>(view.data);
  const auto bytes = count * static_cast<int64_t>(size_of(view.dtype));
  std::fill_n(marked->begin() + begin, bytes, true);
}

std::string find_stray(const Buffer& buffer, const std::vector<bool>& marked, const char* name) {
  if (!buffer.guards_intact()) return std::string(name) + ": a guard band was overwritten";
  for (size_t i = 0; i < buffer.size(); ++i) {
    if (!marked[i] && buffer.data()[i] != kPoison) {
      return std::string(name) + ": byte " + std::to_string(i) +
             " was overwritten; it belongs to padding or lies between rows";
    }
  }
  return {};
}

}  // namespace

double draw_query(const Case& c, int64_t d, Random* random) {
  const double x = random->normal();
  if (c.data == DataKind::kLargeAll) return kLargeFactor * x;
  if (c.data == DataKind::kNegativeAll) return kLargeFactor * (1.0 + std::abs(x));
  return is_large_channel(c, d) ? kLargeChannel : x;
}

double draw_key(const Case& c, int64_t d, Random* random) {
  const double x = random->normal();
  if (c.data == DataKind::kLargeAll) return kLargeFactor * x;
  if (c.data == DataKind::kNegativeAll) return kLargeFactor * (-1.0 - std::abs(x));
  if (!is_large_channel(c, d)) return x;
  return c.data == DataKind::kLarge && x > 0.0 ? kLargeChannel : -kLargeChannel;
}

bool has_large_channel(const Case& c) {
  return c.data == DataKind::kLarge || c.data == DataKind::kNegative;
}

int32_t total_q(const Case& c) {
  int32_t total = 0;
  for (const auto& seq : c.seqs) total += seq.first;
  return total;
}

int32_t longest_q(const Case& c) {
  int32_t longest = 0;
  for (const auto& seq : c.seqs) longest = std::max(longest, seq.first);
  return longest;
}

int32_t longest_k(const Case& c) {
  int32_t longest = 0;
  for (const auto& seq : c.seqs) longest = std::max(longest, seq.second);
  return longest;
}

struct BuiltCase::Memory {
  explicit Memory(const Case& c)
      : spec(c),
        out_view(placed(c.out_dtype, {total_q(c) + c.padding_rows, c.num_q_heads, c.head_dim},
                        row_placement(c))),
        out(bytes_spanned(out_view), kGuardBytes),
        lse_view(placed(DType::kFloat32, lse_shape(c), loose(c))),
        lse(bytes_spanned(lse_view), kGuardBytes) {
    out_view.data = out.data();
    lse_view.data = lse.data();
  }

  static std::vector<int64_t> lse_shape(const Case& c) {
    const int64_t num_tokens = total_q(c) + c.padding_rows;
    if (c.lse_tokens_heads) return {num_tokens, c.num_q_heads};
    return {c.num_q_heads, num_tokens};
  }

  Case spec;
  TensorPool pool;
  TensorView out_view;
  Buffer out;
  TensorView lse_view;
  Buffer lse;
  AttentionProblem problem;
};

BuiltCase::BuiltCase(const Case& c) : memory_(std::make_unique<Memory>(c)) {
  TensorPool* pool = &memory_->pool;
  AttentionProblem* problem = &memory_->problem;
  problem->q = make_queries(c, pool);
  if (c.non_finite == NonFinite::kNanQ) spoil_queries(c, problem->q);
  problem->out = memory_->out_view;
  if (c.lse) problem->lse = memory_->lse_view;
  problem->lse_layout = c.lse_tokens_heads ? LseLayout::kTokensHeads : LseLayout::kHeadsTokens;
  problem->kv = build_kv(c, pool);
  make_lengths(c, pool, problem);
  if (c.q_dtype == DType::kFloat8E4M3) {
    const bool per_token = c.scales == ScaleKind::kPerTokenHead;
    problem->q_scale =
        make_scale(c, per_token ? ScaleKind::kScalar : c.scales, c.q_dtype, "q scale", pool);
    make_zeros(c, ZeroScales::kQ, problem->q_scale);
  }
  if (c.out_scale) {
    problem->out_scale = pool->make(DType::kFloat32, {1});
    // The smaller one saturates.
    element_as<float>(problem->out_scale, 0) = c.seed % 2 == 0 ? 0.02f : 0.002f;
  }
  problem->mask = build_mask(c, pool);
  build_score(c, pool, problem);
  problem->split_policy = c.split_policy;
  problem->fixed_split_keys = c.fixed_split_keys;
  // Checked mode must take every legal case; it may refuse a scale that is NaN.
  problem->checked = c.seed % 4 == 0 && c.non_finite == NonFinite::kNone;
}

BuiltCase::~BuiltCase() = default;
BuiltCase::BuiltCase(BuiltCase&&) noexcept = default;

const Case& BuiltCase::spec() const {
  return memory_->spec;
}

const AttentionProblem& BuiltCase::problem() const {
  return memory_->problem;
}

void BuiltCase::poison_outputs() {
  memory_->out.poison();
  memory_->lse.poison();
}

std::string BuiltCase::stray_write(const std::vector<uint8_t>& written) const {
  const Memory& m = *memory_;
  std::vector<bool> out_marked(m.out.size());
  std::vector<bool> lse_marked(m.lse.size());
  for (size_t token = 0; token < written.size(); ++token) {
    if (!written[token]) continue;
    for (int64_t head = 0; head < m.spec.num_q_heads; ++head) {
      mark(m.out_view, token, head, m.spec.head_dim, &out_marked);
      if (!m.spec.lse) continue;
      mark(m.lse_view, m.spec.lse_tokens_heads ? token : head,
           m.spec.lse_tokens_heads ? head : token, 1, &lse_marked);
    }
  }
  const std::string stray = find_stray(m.out, out_marked, "out");
  return stray.empty() ? find_stray(m.lse, lse_marked, "lse") : stray;
}

}  // namespace pagoda::testing
