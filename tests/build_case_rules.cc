// Masks, biases and sinks of a case.
#include <algorithm>
#include <cmath>

#include "build_case_parts.h"
#include "oracle_formats.h"

namespace pagoda::testing {
namespace {

int64_t num_seqs(const Case& c) {
  return static_cast<int64_t>(c.seqs.size());
}

// Any value but 0 is causal.
TensorView make_causal_flags(const Case& c, TensorPool* pool) {
  Random random(c.seed, "causal flags");
  TensorView flags = pool->make(DType::kUInt8, {num_seqs(c)}, loose(c));
  for (int64_t s = 0; s < num_seqs(c); ++s) {
    element_as<uint8_t>(flags, s) = random.pick(std::vector<uint8_t>{0, 1, 255});
  }
  return flags;
}

TensorView make_prefix_lens(const Case& c, TensorPool* pool) {
  Random random(c.seed, "prefix lengths");
  TensorView lens = pool->make(DType::kInt32, {num_seqs(c)}, loose(c));
  for (int64_t s = 0; s < num_seqs(c); ++s) {
    element_as<int32_t>(lens, s) = static_cast<int32_t>(random.between(0, c.seqs[s].second));
  }
  return lens;
}

// Each token of a step has a parent among the earlier ones, or none; every sixteenth word is -1.
TensorView make_tree_words(const Case& c, TensorPool* pool) {
  Random random(c.seed, "tree");
  TensorView words = pool->make(DType::kInt64, {total_q(c) + c.padding_rows}, loose(c));
  int64_t token = 0;
  for (const auto& seq : c.seqs) {
    std::vector<int64_t> ancestors;
    for (int32_t i = 0; i < seq.first; ++i) {
      const int64_t parent = random.between(-1, std::min(i, 64) - 1);
      ancestors.push_back(parent < 0 ? 0 : ancestors[parent] | (int64_t{1} << parent));
      element_as<int64_t>(words, token++) = random.chance(1.0 / 16) ? -1 : ancestors.back();
    }
  }
  return words;
}

// Ranges of up to half of the keys, anywhere; one in five is padding.
TensorView make_ranges(const Case& c, TensorPool* pool) {
  Random random(c.seed, "ranges");
  TensorView ranges = pool->make(DType::kInt32, {num_seqs(c), c.num_ranges, 2});
  for (int64_t s = 0; s < num_seqs(c); ++s) {
    const int32_t k_len = c.seqs[s].second;
    for (int32_t r = 0; r < c.num_ranges; ++r) {
      int64_t first = 0;
      int64_t last = -1;
      if (k_len > 0 && !random.chance(0.2)) {
        first = random.below(k_len);
        last = std::min<int64_t>(k_len - 1, first + random.between(0, k_len / 2));
      }
      element_as<int32_t>(ranges, s, r, 0) = static_cast<int32_t>(first);
      element_as<int32_t>(ranges, s, r, 1) = static_cast<int32_t>(last);
    }
  }
  return ranges;
}

// Sometimes a row or a column short of the longest step, and never larger than 64 x 64.
TensorView make_bias(const Case& c, TensorPool* pool) {
  Random random(c.seed, "bias");
  const int64_t rows = std::clamp<int64_t>(longest_q(c) - random.below(2), 1, 64);
  const int64_t columns = std::clamp<int64_t>(longest_q(c) - random.below(2), 1, 64);
  const int64_t matrices = c.bias == 2 ? num_seqs(c) : 1;
  const std::vector<int64_t> shape = c.bias == 2 ? std::vector<int64_t>{matrices, rows, columns}
                                                 : std::vector<int64_t>{rows, columns};
  TensorView bias = pool->make(DType::kFloat32, shape, loose(c));
  for (int64_t m = 0; m < matrices; ++m) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        float& x = c.bias == 2 ? element_as<float>(bias, m, i, j) : element_as<float>(bias, i, j);
        x = random.chance(0.2) ? -INFINITY : static_cast<float>(random.normal());
      }
    }
  }
  return bias;
}

TensorView make_slopes(const Case& c, TensorPool* pool) {
  TensorView slopes = pool->make(DType::kFloat32, {c.num_q_heads}, loose(c));
  for (int32_t h = 0; h < c.num_q_heads; ++h) {
    element_as<float>(slopes, h) =
        std::exp2(-8.0f * static_cast<float>(h + 1) / static_cast<float>(c.num_q_heads));
  }
  return slopes;
}

TensorView make_sinks(const Case& c, TensorPool* pool) {
  const DType dtypes[] = {DType::kFloat32, DType::kBFloat16, DType::kFloat16};
  Random random(c.seed, "sinks");
  TensorView sinks = pool->make(dtypes[c.seed % 3], {c.num_q_heads}, loose(c));
  for (int32_t h = 0; h < c.num_q_heads; ++h) {
    encode(sinks.dtype, 3.0 * random.normal(), element(sinks, h));
  }
  return sinks;
}

}  // namespace

AttentionMask build_mask(const Case& c, TensorPool* pool) {
  AttentionMask mask;
  mask.causal = c.causal;
  if (c.causal_per_seq) mask.causal_per_seq = make_causal_flags(c, pool);
  mask.window_left = c.window_left;
  mask.window_right = c.window_right;
  mask.chunk_size = c.chunk_size;
  mask.chunk_lookback = c.chunk_lookback;
  if (c.prefix_window_left >= 0) {
    mask.prefix_lens = make_prefix_lens(c, pool);
    mask.prefix_window_left = c.prefix_window_left;
  }
  if (c.tree) mask.tree_words = make_tree_words(c, pool);
  if (c.num_ranges > 0) mask.bidirectional_ranges = make_ranges(c, pool);
  mask.clamp_ranges_to_window_left = c.clamp_ranges;
  return mask;
}

void build_score(const Case& c, TensorPool* pool, AttentionProblem* problem) {
  problem->softmax_scale = c.softmax_scale;
  problem->logits_soft_cap = c.soft_cap;
  if (c.alibi) problem->alibi_slopes = make_slopes(c, pool);
  problem->alibi_sqrt = c.alibi_sqrt;
  if (c.bias != 0) problem->bias = make_bias(c, pool);
  if (c.sinks) problem->sinks = make_sinks(c, pool);
}

}  // namespace pagoda::testing
