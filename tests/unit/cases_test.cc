// Case lines, the memory that is built from them, and the verdict: it must be able to fail.
#include "cases.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "case_grids_parts.h"
#include "cases_memory.h"
#include "oracle.h"
#include "oracle_formats.h"

namespace pagoda::testing {
namespace {

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (const Grid& grid : all_grids(200, 7)) {
    all.insert(all.end(), grid.cases.begin(), grid.cases.end());
  }
  return all;
}

Case parsed(const std::string& line) {
  Case c;
  std::string error;
  EXPECT_TRUE(parse_case(line, &c, &error)) << line << ": " << error;
  return c;
}

TEST(CaseLine, RoundTripsEveryGrid) {
  for (const Case& c : all_cases()) EXPECT_EQ(to_line(parsed(to_line(c))), to_line(c));
}

TEST(CaseLine, PrintsOnlyWhatDiffers) {
  EXPECT_EQ(to_line({.seqs = {{5, 18}, {1, 1328}}}), "seqs=5x18,1x1328");
  EXPECT_EQ(to_line({}), "seqs=none");
  EXPECT_EQ(to_line({.seqs = {{1, 2}}, .head_dim = 128, .window_left = 7, .soft_cap = 0.1f}),
            "seqs=1x2 d=128 window=7/-1 soft_cap=0.1");
}

TEST(CaseLine, ReadsEveryKey) {
  const Case c = parsed(
      "seqs=3x4 heads=12/3 d=96 page=7 q=e4m3 kv=e5m2 out=f32 layout=padded table=csr "
      "scales=per_seq_head data=large non_finite=inf_v causal=0 causal_per_seq=1 window=3/-1 "
      "chunk=16/2 prefix_window=5 tree=1 ranges=2 clamp_ranges=1 soft_cap=30 softmax_scale=0.25 "
      "alibi=1 alibi_sqrt=1 sinks=1 bias=2 lse=0 lse_tokens_heads=1 out_scale=1 padding_rows=6 "
      "split=fixed split_keys=128 seed=4294967295");
  EXPECT_EQ(c.seqs, (std::vector<std::pair<int32_t, int32_t>>{{3, 4}}));
  EXPECT_EQ(c.num_q_heads, 12);
  EXPECT_EQ(c.num_kv_heads, 3);
  EXPECT_EQ(c.kv_dtype, DType::kFloat8E5M2);
  EXPECT_EQ(c.scales, ScaleKind::kPerSeqHead);
  EXPECT_EQ(c.window_left, 3);
  EXPECT_EQ(c.chunk_lookback, 2);
  EXPECT_EQ(c.softmax_scale, 0.25f);
  EXPECT_EQ(c.split_policy, SplitPolicy::kFixed);
  EXPECT_EQ(c.seed, 4294967295u);
  EXPECT_FALSE(c.causal);
  EXPECT_FALSE(c.lse);
}

TEST(CaseLine, MalformedLinesNameKeyValueAndWish) {
  struct Malformed {
    const char* line;
    const char* error;
  };
  for (const Malformed& m : std::vector<Malformed>{
           {"", "seqs: got nothing, wants q_len x k_len pairs, e.g. 5x18,1x1328, or none"},
           {"d=64", "seqs: got nothing, wants q_len x k_len pairs, e.g. 5x18,1x1328, or none"},
           {"seqs=1x2 d=65", "d: got \"65\", wants a multiple of 8 in [8, 256]"},
           {"seqs=1x2 d=", "d: got \"\", wants a multiple of 8 in [8, 256]"},
           {"seqs=1x2 page=0", "page: got \"0\", wants an integer in [1, 1048576]"},
           {"seqs=1x2 page=16 page=16", "page: got a second value \"16\", wants one"},
           {"seqs=1x2 q=bf17", "q: got \"bf17\", wants one of f32, f16, bf16, e4m3, e5m2, int8"},
           {"seqs=1x2 causal=yes", "causal: got \"yes\", wants 0 or 1"},
           {"seqs=1x2 window=4", "window: got \"4\", wants left/right, each -1 or more"},
           {"seqs=1x2 seed=-1", "seed: got \"-1\", wants an integer in [0, 2^32)"},
           {"seqs=1x2 soft_cap=nan", "soft_cap: got \"nan\", wants a finite number >= 0"},
           {"seqs=1x2 soft_cap=-1", "soft_cap: got \"-1\", wants a finite number >= 0"},
           {"seqs=1x2 prefix_window=99999999999",
            "prefix_window: got \"99999999999\", wants an integer from -1"},
           {"seqs=1x2 heads=4/3",
            "heads: got \"4/3\", wants query heads / KV heads, the first a multiple of the second"},
           {"seqs=1x2 fast", "case line: got \"fast\", wants key=value"}}) {
    Case c;
    std::string error;
    EXPECT_FALSE(parse_case(m.line, &c, &error)) << m.line;
    EXPECT_EQ(error, m.error);
  }
  for (const char* seqs : {"1", "1x", "x1", "1x2,", ",1x2", "1x-2", "1x2x3", "0x99999999"}) {
    Case c;
    std::string error;
    EXPECT_FALSE(parse_case(std::string("seqs=") + seqs, &c, &error)) << seqs;
  }
  Case c;
  std::string error;
  EXPECT_FALSE(parse_case("seqs=1x2 pages=16", &c, &error));
  EXPECT_EQ(error.find("case line: got the unknown key \"pages\", wants one of seqs, heads, "), 0u);
}

TEST(Grids, CoverWhatTheyPromise) {
  std::set<int32_t> head_dims, page_sizes, ratios;
  for (const Case& c : feature_cases()) {
    head_dims.insert(c.head_dim);
    page_sizes.insert(c.page_size);
    ratios.insert(c.num_q_heads / c.num_kv_heads);
  }
  for (int32_t d = 8; d <= 256; d += 8) EXPECT_TRUE(head_dims.contains(d)) << d;
  for (const int32_t page : {1, 8, 16, 48, 64, 784}) EXPECT_TRUE(page_sizes.contains(page)) << page;
  for (const int32_t r : {1, 3, 5, 6, 7, 8, 16, 71}) EXPECT_TRUE(ratios.contains(r)) << r;

  std::set<std::pair<int32_t, int32_t>> flash_pairs;
  std::set<int32_t> flash_dims, flash_pages, flash_kv_heads;
  for (const Case& c : flash_attention_cases()) {
    flash_pairs.insert(c.seqs[0]);
    flash_dims.insert(c.head_dim);
    flash_pages.insert(c.page_size);
    if (c.num_q_heads == 6) flash_kv_heads.insert(c.num_kv_heads);
  }
  EXPECT_EQ(flash_pairs.size(), 36u);
  EXPECT_EQ(flash_dims, (std::set<int32_t>{64, 96, 128, 192, 256}));
  EXPECT_EQ(flash_pages, (std::set<int32_t>{1, 4, 16, 32, 64, 128, 256}));
  EXPECT_EQ(flash_kv_heads, (std::set<int32_t>{1, 3, 6}));
}

TEST(BuiltCase, SameLineSameBits) {
  const Case c = parsed("seqs=3x40,1x9 kv=e4m3 scales=per_head sinks=1 layout=hnd seed=6");
  const BuiltCase a(c), b(c);
  const OracleResult first = run_oracle(a.problem(), Precision::kDouble);
  EXPECT_EQ(first.out, run_oracle(b.problem(), Precision::kDouble).out);
  Case other = c;
  other.seed = 7;
  EXPECT_NE(first.out, run_oracle(BuiltCase(other).problem(), Precision::kDouble).out);
}

TEST(BuiltCase, SurroundsWhatIsReadWithNan) {
  const BuiltCase built(parsed("seqs=3x17,1x5 heads=1/1 d=8 padding_rows=2"));
  const AttentionProblem& p = built.problem();
  EXPECT_TRUE(std::isnan(decode(p.q.dtype, element(p.q, 4, 0, 0))));
  const int64_t last_page = element_as<int32_t>(p.kv.block_table, 0, 1);
  EXPECT_TRUE(std::isfinite(decode(p.kv.k_pages.dtype, element(p.kv.k_pages, last_page, 0))));
  EXPECT_TRUE(std::isnan(decode(p.kv.k_pages.dtype, element(p.kv.k_pages, last_page, 1))));
  EXPECT_GT(p.kv.k_pages.shape[0], 3);  // and there are pages that nobody uses
}

// Writes the oracle's truth to the outputs, as a perfect implementation would.
void write_truth(const BuiltCase& built) {
  const AttentionProblem& p = built.problem();
  const OracleResult truth = run_oracle(p, Precision::kDouble);
  size_t i = 0;
  for (int64_t token = 0; token < p.out.shape[0]; ++token) {
    for (int64_t head = 0; head < p.out.shape[1]; ++head) {
      for (int64_t d = 0; d < p.out.shape[2]; ++d, ++i) {
        if (truth.written[token]) encode(p.out.dtype, truth.out[i], element(p.out, token, head, d));
      }
      if (!truth.written[token]) continue;
      element_as<float>(p.lse, head, token) =
          static_cast<float>(truth.lse[token * p.out.shape[1] + head]);
    }
  }
}

void expect_failure(const BuiltCase& built, const char* message) {
  const Verdict verdict = verify(built);
  EXPECT_FALSE(verdict.ok);
  EXPECT_NE(verdict.message.find(message), std::string::npos) << verdict.message;
}

TEST(Verify, TakesTheTruthAndNothingElse) {
  BuiltCase built(parsed("seqs=3x40,4x2,1x9 padding_rows=2 seed=2"));
  const AttentionProblem& p = built.problem();
  expect_failure(built, "sees no key");  // nothing was written yet

  write_truth(built);
  const Verdict verdict = verify(built);
  EXPECT_TRUE(verdict.ok) << verdict.message;
  EXPECT_GT(verdict.max_error, 0.0);  // bf16 rounds
  EXPECT_LT(verdict.max_error, verdict.max_error_allowed);

  const double right = decode(p.out.dtype, element(p.out, 1, 2, 3));
  encode(p.out.dtype, right + 0.03, element(p.out, 1, 2, 3));
  expect_failure(built, "out of token 1 (query 1 of a 3x40 sequence), head 2, channel 3");

  write_truth(built);
  encode(p.out.dtype, 1e-30, element(p.out, 3, 0, 0));
  expect_failure(built, "token 3 sees no key: out is");

  write_truth(built);
  element_as<float>(p.lse, 1, 7) += 1e-3f;
  expect_failure(built, "lse of token 7 (query 0 of a 1x9 sequence), head 1");

  write_truth(built);
  encode(p.out.dtype, std::nan(""), element(p.out, 7, 0, 5));
  expect_failure(built, "not finite");
}

TEST(Verify, MeanErrorIsBounded) {
  const BuiltCase built(parsed("seqs=1x2000"));
  write_truth(built);
  const AttentionProblem& p = built.problem();
  const double step = 1.9 * verify(built).max_error;  // of one element it would be fine
  for (int64_t d = 0; d < p.out.shape[2]; ++d) {
    void* out = element(p.out, 0, 0, d);
    encode(p.out.dtype, decode(p.out.dtype, out) + step, out);
  }
  EXPECT_FALSE(verify(built).ok);
}

TEST(Verify, SeesStrayWrites) {
  BuiltCase built(parsed("seqs=3x40 padding_rows=2 layout=padded"));
  const AttentionProblem& p = built.problem();
  write_truth(built);
  EXPECT_TRUE(verify(built).ok);
  encode(p.out.dtype, 0.0, element(p.out, 3, 0, 0));  // a padding row
  expect_failure(built, "out: byte");
  built.poison_outputs();
  write_truth(built);
  encode(p.out.dtype, 0.0, element(p.out, 0, 0, p.out.shape[2]));  // the gap after a row
  expect_failure(built, "out: byte");
  built.poison_outputs();
  write_truth(built);
  static_cast<float*>(p.lse.data)[-1] = 0.0f;  // the guard band
  expect_failure(built, "lse: a guard band");
}

}  // namespace
}  // namespace pagoda::testing
