// The mask functions against a naive reading of the rules, over many small shapes.
#include "semantics/mask.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace pagoda {
namespace {

MaskRule plain_rule(int32_t q_len, int32_t k_len) {
  MaskRule rule{};
  rule.q_len = q_len;
  rule.k_len = k_len;
  rule.window_left = rule.window_right = rule.prefix_window_left = -1;
  return rule;
}

int32_t naive_floor_div(int32_t x, int32_t y) {
  int32_t q = x / y;
  while (q * y > x) --q;
  return q;
}

bool naive_visible(const MaskRule& rule, int32_t p, int32_t t) {
  const int32_t context = rule.k_len - rule.q_len;
  bool base = !rule.causal || t <= p;
  if (rule.window_left >= 0 && p - t > rule.window_left) base = false;
  if (rule.window_right >= 0 && t - p > rule.window_right) base = false;
  if (rule.chunk_size > 0 &&
      naive_floor_div(p, rule.chunk_size) - naive_floor_div(t, rule.chunk_size) >
          rule.chunk_lookback) {
    base = false;
  }
  if (rule.prefix_window_left >= 0 && t >= rule.prefix_len && p - t > rule.prefix_window_left) {
    base = false;
  }
  const int32_t i = p - context, j = t - context;
  if (rule.tree_words != nullptr && j >= 0 && j < 64 && j != i &&
      ((static_cast<uint64_t>(rule.tree_words[i]) >> j) & 1) == 0) {
    base = false;
  }
  for (int32_t r = 0; r < rule.num_ranges; ++r) {
    const int32_t a = rule.ranges[2 * r], b = rule.ranges[2 * r + 1];
    const bool inside = a <= p && p <= b && a <= t && t <= b;
    const bool clamped =
        rule.clamp_ranges_to_window_left && rule.window_left >= 0 && p - t > rule.window_left;
    if (inside && !clamped) return true;
  }
  return base;
}

// Every key and every run of queries of `rule`, against the naive reading.
void check_rule(const MaskRule& rule) {
  const int32_t context = rule.k_len - rule.q_len;
  for (int32_t first = 0; first < rule.q_len; ++first) {
    for (int32_t last = first; last < rule.q_len; ++last) {
      const KvRange any = any_visible(rule, context + first, context + last);
      const KvRange all = all_visible(rule, context + first, context + last);
      const KvRange gap = hidden_gap(rule, context + first);
      ASSERT_GE(any.begin, 0);
      ASSERT_LE(any.end, rule.k_len);
      for (int32_t t = 0; t < rule.k_len; ++t) {
        bool some = false, every = true;
        for (int32_t i = first; i <= last; ++i) {
          const bool visible = naive_visible(rule, context + i, t);
          if (first == last) {
            ASSERT_EQ(visible, is_visible(rule, context + i, t)) << i << " " << t;
          }
          some |= visible;
          every &= visible;
        }
        if (some) {
          ASSERT_TRUE(any.begin <= t && t < any.end) << first << "-" << last << " " << t;
        }
        if (gap.begin <= t && t < gap.end) {
          ASSERT_FALSE(some) << first << "-" << last << " " << t;
        }
        if (all.begin <= t && t < all.end) {
          ASSERT_TRUE(every) << first << "-" << last << " " << t;
        }
      }
    }
  }
  if (!is_interval(rule)) return;
  for (int32_t i = 0; i < rule.q_len; ++i) {
    const KvRange kv = any_visible(rule, context + i, context + i);
    for (int32_t t = kv.begin; t < kv.end; ++t) {
      ASSERT_TRUE(naive_visible(rule, context + i, t)) << "an interval mask has no holes";
    }
  }
}

TEST(Mask, IntervalRulesAgreeWithNaiveReading) {
  for (const auto& [q_len, k_len] : {std::pair{1, 9}, {5, 5}, {4, 11}, {6, 3}, {3, 0}}) {
    for (bool causal : {false, true}) {
      for (int32_t left : {-1, 0, 1, 4, 100}) {
        for (int32_t right : {-1, 0, 2, 100}) {
          for (int32_t chunk : {0, 1, 3}) {
            for (int32_t lookback : {0, 1}) {
              MaskRule rule = plain_rule(q_len, k_len);
              rule.causal = causal;
              rule.window_left = left;
              rule.window_right = right;
              rule.chunk_size = chunk;
              rule.chunk_lookback = lookback;
              check_rule(rule);
            }
          }
        }
      }
    }
  }
}

TEST(Mask, PredicatesAgreeWithNaiveReading) {
  std::mt19937 random(7);
  auto pick = [&](int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random);
  };
  for (int trial = 0; trial < 400; ++trial) {
    MaskRule rule = plain_rule(pick(1, 7), pick(1, 14));
    rule.causal = pick(0, 1) == 1;
    rule.window_left = pick(-1, 6);
    rule.window_right = pick(-1, 3);
    if (pick(0, 2) == 0) {
      rule.prefix_len = pick(0, 6);
      rule.prefix_window_left = pick(0, 4);
    }
    std::vector<int64_t> words;
    if (pick(0, 2) == 0) {
      for (int32_t i = 0; i < rule.q_len; ++i) words.push_back(pick(0, 127));
      rule.tree_words = words.data();
      rule.tree_words_stride = 1;
    }
    std::vector<int32_t> ranges;
    for (int32_t i = pick(0, 2); i > 0; --i) {
      ranges.push_back(pick(-1, 8));
      ranges.push_back(pick(-1, 16));
    }
    rule.ranges = ranges.data();
    rule.num_ranges = static_cast<int32_t>(ranges.size()) / 2;
    rule.clamp_ranges_to_window_left = rule.window_left >= 0 && pick(0, 1) == 1;
    check_rule(rule);
    if (HasFatalFailure()) FAIL() << "trial " << trial;
  }
}

TEST(Mask, WindowLeftZeroSeesOnlyItself) {
  MaskRule rule = plain_rule(8, 8);
  rule.causal = true;
  rule.window_left = 0;
  for (int32_t p = 0; p < 8; ++p) {
    const KvRange kv = any_visible(rule, p, p);
    EXPECT_EQ(kv.begin, p);
    EXPECT_EQ(kv.end, p + 1);
  }
}

TEST(Mask, HugeWindowsDoNotOverflow) {
  MaskRule rule = plain_rule(4, 10);
  rule.window_left = rule.window_right = INT32_MAX;
  rule.chunk_size = INT32_MAX;
  rule.chunk_lookback = INT32_MAX;
  const KvRange kv = any_visible(rule, 6, 9);
  EXPECT_EQ(kv.begin, 0);
  EXPECT_EQ(kv.end, 10);
}

TEST(Mask, TreeTokensFromThe65thOnAreNotRestricted) {
  MaskRule rule = plain_rule(70, 70);
  rule.causal = true;
  const std::vector<int64_t> words(70, 0);
  rule.tree_words = words.data();
  rule.tree_words_stride = 1;
  EXPECT_FALSE(is_visible(rule, 69, 63));
  EXPECT_TRUE(is_visible(rule, 69, 64));
  EXPECT_TRUE(is_visible(rule, 69, 69));
}

TEST(Mask, EndsAreMonotoneInTheQuery) {
  MaskRule rule = plain_rule(40, 64);
  rule.causal = true;
  rule.window_left = 9;
  rule.chunk_size = 8;
  rule.chunk_lookback = 1;
  KvRange before{0, 0};
  for (int32_t p = 24; p < 64; ++p) {
    const KvRange kv = interval_kv(rule, p);
    EXPECT_GE(kv.begin, before.begin);
    EXPECT_GE(kv.end, before.end);
    before = kv;
  }
}

}  // namespace
}  // namespace pagoda
