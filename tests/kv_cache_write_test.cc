// write_kv_cache against the naive one: every type, layout, scale and rotation.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "kv_oracle.h"
#include "oracle_formats.h"
#include "pagoda/kv_cache.h"

namespace pagoda::testing {
namespace {

constexpr int64_t kNumPages = 7;

enum class Scales { kNone, kOne, kPerHead, kPerTokenAndHead };

struct RopeCase {
  int64_t rotary_dim;
  bool interleaved = false;
  DType dtype = DType::kFloat32;
};

struct WriteCase {
  DType dtype = DType::kBFloat16;
  DType pages = DType::kBFloat16;
  PagesLayout layout = PagesLayout::kNhd;
  Scales scales = Scales::kNone;
  std::optional<RopeCase> rope = {};
  int64_t num_tokens = 29;
  int64_t num_kv_heads = 3;
  int64_t head_dim = 40;
  int64_t page_size = 8;
  double magnitude = 1.0;
  bool has_specials = false;
  bool in_order = false;  // neighbours go to neighbouring slots, from the middle of a page on
};

std::string describe(const WriteCase& c) {
  return "dtype " + std::to_string(static_cast<int>(c.dtype)) + " pages " +
         std::to_string(static_cast<int>(c.pages)) + " layout " +
         std::to_string(static_cast<int>(c.layout)) + " scales " +
         std::to_string(static_cast<int>(c.scales)) + " rotary_dim " +
         std::to_string(c.rope ? c.rope->rotary_dim : 0) + " heads " +
         std::to_string(c.num_kv_heads) + " head_dim " + std::to_string(c.head_dim) +
         " page_size " + std::to_string(c.page_size) + " in order " + std::to_string(c.in_order);
}

class Writer {
 public:
  explicit Writer(const WriteCase& c)
      : case_(c),
        random_(7, "write"),
        qkv_(c.dtype, {c.num_tokens, kGroup * c.num_kv_heads + 2 * c.num_kv_heads, c.head_dim}),
        pages_(c.pages, {kNumPages, c.page_size, c.num_kv_heads, c.head_dim}, c.layout),
        slots_(DType::kInt64, {c.num_tokens}, {.inner_stride = 3}),
        k_token_scale_(scale_tensor(c)),
        v_token_scale_(scale_tensor(c)) {
    const int64_t heads = c.num_kv_heads;
    fill(qkv_.view(), [&] { return draw(); });
    qkv_.watch();
    args_.k = slice(qkv_.view(), 1, kGroup * heads, heads);
    args_.v = slice(qkv_.view(), 1, kGroup * heads + heads, heads);
    args_.k_pages = pages_.k();
    args_.v_pages = pages_.v();
    draw_slots();
    draw_scales();
    draw_rope();
    args_.checked = true;
  }

  void run_and_check() {
    std::vector<OracleRow> k_rows;
    std::vector<OracleRow> q_rows;
    for (int64_t token = 0; token < case_.num_tokens; ++token) {
      for (int64_t head = 0; head < case_.num_kv_heads; ++head) {
        k_rows.push_back(case_.rope ? rotated_row(args_.k, token, head, args_.rope)
                                    : stored_row(args_.k, token, head));
      }
      for (int64_t head = 0; case_.rope && head < args_.rope.q.shape[1]; ++head) {
        q_rows.push_back(rotated_row(args_.rope.q, token, head, args_.rope));
      }
    }
    const Status status = write_kv_cache(args_);
    ASSERT_TRUE(status.ok()) << status.message();
    for (int64_t token = 0; token < case_.num_tokens; ++token) {
      const int64_t slot = element_as<int64_t>(slots_.view(), token);
      for (int64_t head = 0; slot >= 0 && head < case_.num_kv_heads; ++head) {
        check_row(true, k_rows[static_cast<size_t>(token * case_.num_kv_heads + head)], slot, head);
        check_row(false, stored_row(args_.v, token, head), slot, head);
      }
    }
    check_q(q_rows);
    EXPECT_TRUE(pages_.rest_is_intact()) << "pages written outside of the slots";
    EXPECT_TRUE(qkv_.rest_is_intact()) << "k or v changed, or q beyond rotary_dim";
    EXPECT_TRUE(k_token_scale_.rest_is_intact() && v_token_scale_.rest_is_intact());
  }

 private:
  static constexpr int64_t kGroup = 2;

  static WatchedTensor scale_tensor(const WriteCase& c) {
    return {DType::kFloat32, {kNumPages, c.page_size, c.num_kv_heads}, {{0, 2, 1}, 2}};
  }

  double draw() {
    if (case_.has_specials && random_.chance(0.05)) {
      return random_.pick(std::vector<double>{NAN, HUGE_VAL, -HUGE_VAL, 0.0, -0.0, 1e-30, 3e38});
    }
    return random_.normal() * case_.magnitude;
  }

  void draw_slots() {
    std::vector<int64_t> slots(static_cast<size_t>(kNumPages * case_.page_size));
    std::iota(slots.begin(), slots.end(), 0);
    if (case_.in_order) {
      std::rotate(slots.begin(), slots.begin() + case_.page_size / 2, slots.end());
    } else {
      random_.shuffle(&slots);
    }
    for (int64_t token = 0; token < case_.num_tokens; ++token) {
      const bool skips = random_.chance(0.2) || token >= static_cast<int64_t>(slots.size());
      const int64_t slot =
          skips ? random_.pick(std::vector<int64_t>{-1, -77}) : slots[static_cast<size_t>(token)];
      element_as<int64_t>(slots_.view(), token) = slot;
    }
    args_.slot_mapping = slots_.view();
  }

  void draw_scales() {
    if (case_.scales == Scales::kPerTokenAndHead) {
      args_.k_token_scale = k_token_scale_.view();
      args_.v_token_scale = v_token_scale_.view();
    } else if (case_.scales != Scales::kNone) {
      const int64_t count = case_.scales == Scales::kOne ? 1 : case_.num_kv_heads;
      for (TensorView* scale : {&args_.k_scale, &args_.v_scale}) {
        *scale = pool_.make(DType::kFloat32, {count}, {.inner_stride = 2});
        fill(*scale, [&] { return 0.01 + random_.uniform(); });
      }
    }
  }

  void draw_rope() {
    if (!case_.rope) return;
    constexpr int64_t kMaxPosition = 50;
    args_.rope.cos_sin =
        pool_.make(case_.rope->dtype, {kMaxPosition, case_.rope->rotary_dim}, {.gap = 3});
    fill(args_.rope.cos_sin, [&] { return 2.0 * random_.uniform() - 1.0; });
    args_.rope.positions = pool_.make(DType::kInt64, {case_.num_tokens}, {.inner_stride = 2});
    for (int64_t i = 0; i < case_.num_tokens; ++i) {
      element_as<int64_t>(args_.rope.positions, i) = random_.below(kMaxPosition);
    }
    args_.rope.interleaved = case_.rope->interleaved;
    args_.rope.q = slice(qkv_.view(), 1, 0, kGroup * case_.num_kv_heads);
  }

  float scale_of_row(bool is_k, const OracleRow& row, int64_t page, int64_t offset, int64_t head) {
    if (case_.scales == Scales::kNone) return 1.0f;
    if (case_.scales != Scales::kPerTokenAndHead) {
      const TensorView& scale = is_k ? args_.k_scale : args_.v_scale;
      return element_as<float>(scale, scale.shape[0] == 1 ? 0 : head);
    }
    double largest = 0.0;
    for (double x : row.values) {
      if (!std::isnan(x)) largest = std::max(largest, std::abs(x));
    }
    largest = std::min(largest, max_finite(DType::kFloat32));
    const double want = std::max(largest / max_finite(case_.pages), 1e-6);
    WatchedTensor& scales = is_k ? k_token_scale_ : v_token_scale_;
    float* got = &element_as<float>(scales.view(), page, offset, head);
    EXPECT_NEAR(*got, want, 1e-6 * want);
    scales.allow(got, DType::kFloat32, 1);
    return *got;
  }

  void check_row(bool is_k, const OracleRow& row, int64_t slot, int64_t head) {
    const TensorView& pages = is_k ? pages_.k() : pages_.v();
    const int64_t page = slot / case_.page_size;
    const int64_t offset = slot % case_.page_size;
    const float scale = scale_of_row(is_k, row, page, offset, head);
    pages_.allow(element(pages, page, offset, head), pages.dtype, case_.head_dim);
    for (int64_t d = 0; d < case_.head_dim; ++d) {
      const void* stored = element(pages, page, offset, head, d);
      // The quotient is a single-precision one.
      const double value = static_cast<float>(row.values[static_cast<size_t>(d)] / scale);
      const double error = row.errors[static_cast<size_t>(d)] / scale;
      ASSERT_TRUE(is_rounding_of(pages.dtype, stored, value, error))
          << (is_k ? "k" : "v") << " slot " << slot << " head " << head << " channel " << d
          << ": got " << decode(pages.dtype, stored) << ", wants " << value << " +- " << error;
    }
  }

  void check_q(const std::vector<OracleRow>& rows) {
    const TensorView& q = args_.rope.q;
    for (size_t i = 0; i < rows.size(); ++i) {
      const int64_t token = static_cast<int64_t>(i) / q.shape[1];
      const int64_t head = static_cast<int64_t>(i) % q.shape[1];
      qkv_.allow(element(q, token, head), q.dtype, case_.rope->rotary_dim);
      for (int64_t d = 0; d < case_.head_dim; ++d) {
        ASSERT_TRUE(is_rounding_of(q.dtype, element(q, token, head, d),
                                   rows[i].values[static_cast<size_t>(d)],
                                   rows[i].errors[static_cast<size_t>(d)]))
            << "q token " << token << " head " << head << " channel " << d;
      }
    }
  }

  const WriteCase case_;
  Random random_;
  TensorPool pool_;
  WatchedTensor qkv_;
  WatchedPages pages_;
  WatchedTensor slots_;
  WatchedTensor k_token_scale_;
  WatchedTensor v_token_scale_;
  WriteKvCache args_;
};

void check(const WriteCase& c) {
  SCOPED_TRACE(describe(c));
  Writer(c).run_and_check();
}

const DType kWide[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16};

TEST(WriteKvCache, CopiesInEveryLayout) {
  for (DType dtype : kWide) {
    for (PagesLayout layout : kPagesLayouts) {
      WriteCase c{.dtype = dtype, .pages = dtype, .layout = layout, .has_specials = true};
      check(c);
      c.in_order = true;
      check(c);
    }
  }
}

TEST(WriteKvCache, AnyShape) {
  for (int64_t head_dim : {1, 7, 64, 80, 300}) {
    for (int64_t page_size : {1, 3, 16}) {
      check({.num_kv_heads = 1, .head_dim = head_dim, .page_size = page_size});
      check({.pages = DType::kFloat8E4M3, .head_dim = head_dim, .page_size = page_size});
    }
  }
  check({.num_tokens = 0});
  check({.num_tokens = 300, .num_kv_heads = 4, .head_dim = 128, .page_size = 50});
}

TEST(WriteKvCache, Fp8WithEveryScale) {
  for (DType dtype : kWide) {
    for (DType pages : {DType::kFloat8E4M3, DType::kFloat8E5M2}) {
      for (Scales scales :
           {Scales::kNone, Scales::kOne, Scales::kPerHead, Scales::kPerTokenAndHead}) {
        check({.dtype = dtype, .pages = pages, .scales = scales, .has_specials = true});
        check({.dtype = dtype,
               .pages = pages,
               .layout = PagesLayout::kInterleaved,
               .scales = scales,
               .magnitude = 300.0});
      }
    }
  }
}

TEST(WriteKvCache, Int8) {
  for (DType dtype : kWide) {
    for (double magnitude : {1.0, 1e-9, 1e3}) {
      check({.dtype = dtype,
             .pages = DType::kInt8,
             .layout = PagesLayout::kHnd,
             .scales = Scales::kPerTokenAndHead,
             .magnitude = magnitude,
             .has_specials = magnitude == 1.0});
    }
  }
}

TEST(WriteKvCache, RotatesQAndK) {
  for (bool interleaved : {false, true}) {
    for (int64_t rotary_dim : {2, 24, 40}) {
      for (DType dtype : kWide) {
        check({.dtype = dtype, .pages = dtype, .rope = RopeCase{rotary_dim, interleaved, dtype}});
      }
      check({.pages = DType::kFloat8E4M3,
             .scales = Scales::kPerHead,
             .rope = RopeCase{rotary_dim, interleaved}});
      check({.pages = DType::kInt8,
             .scales = Scales::kPerTokenAndHead,
             .rope = RopeCase{rotary_dim, interleaved}});
    }
    // Longer than one run of the conversions.
    check({.rope = RopeCase{.rotary_dim = 610, .interleaved = interleaved}, .head_dim = 700});
  }
}

}  // namespace
}  // namespace pagoda::testing
