// Every row of the contract's table of edges, on both sides of the line between few and many rows.
#include <cmath>

#include "case_grids_parts.h"

namespace pagoda::testing {
namespace {

using Seqs = std::vector<std::pair<int32_t, int32_t>>;

constexpr DType kDTypes[] = {DType::kBFloat16, DType::kFloat16, DType::kFloat32,
                             DType::kFloat8E4M3};

void add_nothing_to_do(std::vector<Case>* cases) {
  // "q_len = 0, or k_len = 0 with q_len = 0, or num_seqs = 0, or num_tokens = 0": legal, nothing
  // is written.
  const std::vector<Seqs> batches = {{},
                                     {{0, 0}},
                                     {{0, 33}},
                                     {{0, 0}, {0, 5}},
                                     {{0, 20}, {3, 20}},
                                     {{3, 20}, {0, 0}, {0, 7}, {40, 50}, {0, 9}}};
  for (const Seqs& seqs : batches) {
    for (const int32_t padding_rows : {0, 5}) {
      for (const TableKind table : {TableKind::kDense, TableKind::kCsr}) {
        cases->push_back({.seqs = seqs, .table = table, .padding_rows = padding_rows});
      }
    }
  }
}

void add_rows_that_see_nothing(std::vector<Case>* cases) {
  // "row with no visible key, no sink": out = 0, lse = -inf. "... a sink": out = 0, lse = sink.
  // "k_len < q_len": the first rows have p < 0.
  const std::vector<Seqs> batches = {
      {{8, 3}, {1, 5}}, {{5, 0}}, {{1, 0}, {1, 40}}, {{70, 20}}, {{40, 0}, {33, 32}}};
  for (const Seqs& seqs : batches) {
    for (const DType dtype : kDTypes) {
      for (const bool sinks : {false, true}) {
        Case c{.seqs = seqs, .sinks = sinks};
        set_dtype(dtype, &c);
        cases->push_back(c);
        c.window_left = 3;  // keys end before the window of the last rows begins
        c.causal = false;
        c.window_right = 0;
        cases->push_back(c);
        c.window_right = -1;
        c.chunk_size = 8;
        cases->push_back(c);
      }
    }
  }
  // fp8 outputs have a zero too.
  cases->push_back({.seqs = {{8, 3}, {5, 0}},
                    .out_dtype = DType::kFloat8E4M3,
                    .sinks = true,
                    .out_scale = true});
}

void add_padding(std::vector<Case>* cases) {
  // "rows of q/out past cu_seqlens_q[num_seqs]": never read, never written.
  for (const DType dtype : kDTypes) {
    for (const bool lse_tokens_heads : {false, true}) {
      Case c{.seqs = {{1, 20}, {3, 17}, {33, 33}},
             .lse_tokens_heads = lse_tokens_heads,
             .padding_rows = 9};
      set_dtype(dtype, &c);
      cases->push_back(c);
      c.seqs = {{1, 300}};
      cases->push_back(c);
    }
  }
}

void add_unwritten_slots(std::vector<Case>* cases) {
  // "unwritten token slots holding NaN or Inf": page tails of every length, in every layout. All
  // cases have unused pages full of NaN.
  for (const KvLayout layout :
       {KvLayout::kNhd, KvLayout::kHnd, KvLayout::kInterleaved, KvLayout::kPadded}) {
    for (const DType kv_dtype :
         {DType::kBFloat16, DType::kFloat8E4M3, DType::kFloat8E5M2, DType::kInt8}) {
      Case c{.seqs = {{1, 1}, {1, 15}, {1, 16}, {1, 17}, {1, 63}, {1, 65}, {20, 31}, {1, 129}},
             .kv_dtype = kv_dtype,
             .layout = layout};
      if (kv_dtype == DType::kInt8) c.scales = ScaleKind::kPerTokenHead;
      cases->push_back(c);
      c.page_size = 784;
      c.causal = false;
      cases->push_back(c);
    }
  }
}

void add_non_finite(std::vector<Case>* cases) {
  // "NaN/Inf in a visible q, k or v": reaches the rows that see it and no others. The spoiled key
  // is the middle one, so that a causal prefill has rows before and after it.
  for (const NonFinite non_finite :
       {NonFinite::kNanQ, NonFinite::kNanK, NonFinite::kNanV, NonFinite::kInfK, NonFinite::kInfV}) {
    for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32}) {
      for (const Seqs& seqs : {Seqs{{1, 40}, {1, 300}, {2, 17}}, Seqs{{20, 20}, {70, 150}}}) {
        Case c{.seqs = seqs, .non_finite = non_finite};
        set_dtype(dtype, &c);
        cases->push_back(c);
        c.window_left = 10;
        cases->push_back(c);
        c.window_left = -1;
        c.tree = true;
        cases->push_back(c);
      }
    }
    // Quantised: e5m2 has NaN and Inf, e4m3 NaN. int8 has neither, but its scales may be.
    for (const DType kv_dtype : {DType::kFloat8E4M3, DType::kFloat8E5M2}) {
      for (const int32_t window_left : {-1, 10}) {
        cases->push_back({.seqs = {{1, 40}, {70, 150}, {80, 400}},
                          .kv_dtype = kv_dtype,
                          .non_finite = non_finite,
                          .window_left = window_left});
      }
    }
    for (const int32_t window_left : {-1, 10}) {
      cases->push_back({.seqs = {{1, 40}, {70, 150}},
                        .kv_dtype = DType::kInt8,
                        .scales = ScaleKind::kPerTokenHead,
                        .non_finite = non_finite,
                        .window_left = window_left});
    }
  }
}

void add_zero_scales(std::vector<Case>* cases) {
  // A scale may be 0: hidden keys stay hidden where all logits are, and 0 * garbage is not seen.
  for (const ZeroScales zero : {ZeroScales::kQ, ZeroScales::kK, ZeroScales::kV, ZeroScales::kAll}) {
    for (const ScaleKind scales : {ScaleKind::kScalar, ScaleKind::kPerHead, ScaleKind::kPerSeqHead,
                                   ScaleKind::kPerTokenHead}) {
      for (const DType kv_dtype : {DType::kFloat8E4M3, DType::kFloat8E5M2, DType::kInt8}) {
        const bool per_token = scales == ScaleKind::kPerTokenHead;
        if (kv_dtype == DType::kInt8 && !per_token) continue;
        if (zero == ZeroScales::kQ && (per_token || kv_dtype != DType::kFloat8E4M3)) continue;
        Case c{.seqs = {{1, 70}, {3, 200}, {70, 150}},
               .kv_dtype = kv_dtype,
               .scales = scales,
               .zero_scales = zero};
        if (zero == ZeroScales::kQ) c.q_dtype = kv_dtype;
        cases->push_back(c);
        c.window_left = 20;
        cases->push_back(c);
        c.alibi = c.sinks = true;
        cases->push_back(c);
      }
    }
  }
}

void add_shared_pages(std::vector<Case>* cases) {
  // "the same page in two sequences, or twice in one": one full page in ten is.
  for (const int32_t page_size : {1, 2, 4}) {
    cases->push_back({.seqs = {{1, 90}, {5, 60}, {40, 44}, {1, 200}}, .page_size = page_size});
  }
}

void add_extreme_scores(std::vector<Case>* cases) {
  // "scores all very negative or very large": finite, exact softmax.
  for (const DataKind data :
       {DataKind::kLarge, DataKind::kNegative, DataKind::kLargeAll, DataKind::kNegativeAll}) {
    for (const DType dtype : kDTypes) {
      for (const bool sinks : {false, true}) {
        for (const float soft_cap : {0.0f, 30.0f}) {
          Case c{.seqs = {{1, 60}, {3, 200}, {40, 64}},
                 .data = data,
                 .soft_cap = soft_cap,
                 .sinks = sinks};
          set_dtype(dtype, &c);
          cases->push_back(c);
          c.softmax_scale = 1e6f;  // up to 1e12: neighbouring floats are thousands apart
          cases->push_back(c);
        }
      }
    }
  }
}

void add_infinite_bias(std::vector<Case>* cases) {
  // "-inf in the bias": masks that key; a step's first row may lose its only one.
  for (const bool sinks : {false, true}) {
    for (const int32_t bias : {1, 2}) {
      for (const bool causal : {false, true}) {
        cases->push_back({.seqs = {{1, 1}, {2, 2}, {1, 1}, {4, 30}, {1, 1}, {3, 3}},
                          .causal = causal,
                          .sinks = sinks,
                          .bias = bias});
        cases->push_back({.seqs = {{20, 20}, {64, 90}, {70, 70}},
                          .causal = causal,
                          .sinks = sinks,
                          .bias = bias});
      }
    }
  }
}

}  // namespace

std::vector<Case> edge_cases() {
  std::vector<Case> cases;
  add_nothing_to_do(&cases);
  add_rows_that_see_nothing(&cases);
  add_padding(&cases);
  add_unwritten_slots(&cases);
  add_non_finite(&cases);
  add_zero_scales(&cases);
  add_shared_pages(&cases);
  add_extreme_scores(&cases);
  add_infinite_bias(&cases);
  return seeded(cases);
}

}  // namespace pagoda::testing
