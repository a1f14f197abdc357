// Prefill and chunks: the rows lie in the vector lanes. Q is packed once, transposed; K and V are
// widened to f32 a strip of keys at a time and broadcast element by element. So softmax, masks and
// score transforms are all per lane, any head ratio fills the lanes, and nothing is summed across
// them. What a row computes does not depend on which rows lie beside it.
#ifndef PAGODA_CPU_ATTEND_MANY_ROWS_H_
#define PAGODA_CPU_ATTEND_MANY_ROWS_H_

#include "cpu/kernels.h"
#include "cpu/kv_strip.h"
#include "cpu/load_rows.h"
#include "cpu/simd.h"
#include "plan/item_rows.h"
#include "semantics/quant.h"
#include "semantics/softmax.h"

namespace pagoda::cpu {
namespace {

// Register tile: kBandVectors vectors of rows by kUnroll keys (or channels) of sums, beside one
// broadcast and the rows' own vectors.
#if defined(__AVX512F__)
constexpr int kBandVectors = 2;
constexpr int kUnroll = 8;
#elif defined(__aarch64__)
constexpr int kBandVectors = 4;
constexpr int kUnroll = 4;
#else
constexpr int kBandVectors = 3;
constexpr int kUnroll = 4;
#endif
// Channels of a dot product that are summed by themselves.
constexpr int32_t kRunChannels = 16;
// Rows that go through QK, softmax and PV together. The bands of an item share its K/V strips.
constexpr int kBandRows = kBandVectors * kLanes;
constexpr int kManyRowsTile = 128 / kBandRows * kBandRows;

// One band's rows: state and what their masks and scores depend on, by lane.
struct Band {
  alignas(64) float max[kBandRows];  // of scores; times to_log2() they are in base 2
  alignas(64) float sum[kBandRows];
  alignas(64) int32_t q_pos[kBandRows];
  alignas(64) int32_t kv_begin[kBandRows];  // keys that the row's mask can show
  alignas(64) int32_t kv_end[kBandRows];
  alignas(64) float slope[kBandRows];
  int32_t num_rows;
  KvRange any;       // keys that some row sees
  KvRange unmasked;  // keys that every row sees
};

struct ManyRowsScratch {
  Band bands[kManyRowsTile / kBandRows];
  Strip strip;
  alignas(64) float scores[kStripKeys][kBandRows];
  alignas(64) int32_t visible[kStripKeys][kBandRows];  // -1 or 0
  alignas(64) float row[kMaxHeadDim];
  // Behind it, by head_dim: q and out [band][head_dim][kBandRows], k and v [kStripKeys][head_dim].
};

size_t many_rows_scratch_bytes(int32_t head_dim) {
  const size_t floats = size_t{2} * head_dim * (kManyRowsTile + kStripKeys);
  return sizeof(ManyRowsScratch) + floats * sizeof(float);
}

class ManyRows {
 public:
  PAGODA_HD ManyRows(const AttentionParams& params, const WorkItem& item, Scratch scratch)
      : params_(params),
        rows_(params, item),
        kv_head_(item.kv_head),
        head_dim_(params.head_dim),
        scale_(logit_scale(params, item.seq, item.kv_head)),
        has_token_scales_(params.kv.k_token_scale.data != nullptr),
        // With a scale of 0 a hidden key's -inf would become NaN in the exponent.
        plain_(is_plain_score(params.score) && !has_token_scales_ && scale_ > 0.0f),
        s_(*reinterpret_cast<ManyRowsScratch*>(scratch.data)) {
    const int32_t band_floats = kManyRowsTile * head_dim_;
    q_ = reinterpret_cast<float*>(&s_ + 1);
    out_ = q_ + band_floats;
    kv_.k = out_ + band_floats;
    kv_.v = kv_.k + kStripKeys * head_dim_;
    num_bands_ = ceil_div(rows_.num_rows, kBandRows);
  }

  void run(KvRange kv) {
    for (int32_t b = 0; b < num_bands_; ++b) start_band(b);
    for (int32_t begin = kv.begin; begin < kv.end;
         begin = round_down(begin, kStripKeys) + kStripKeys) {
      load_strip(begin, min_of(round_down(begin, kStripKeys) + kStripKeys, kv.end));
      for (int32_t b = 0; b < num_bands_; ++b) attend_band(b);
    }
  }

  // Back from lanes to rows.
  void store(RowStates result) const {
    for (int32_t row = 0; row < rows_.num_rows; ++row) {
      const Band& band = s_.bands[row / kBandRows];
      const int32_t lane = row % kBandRows;
      const RoundedState rounded = rounded_state(band.max[lane], band.sum[lane], to_log2());
      result.state[row] = rounded.state;
      const float* out = band_array(out_, row / kBandRows) + lane;
      for (int32_t d = 0; d < head_dim_; ++d) {
        result.out[row * result.out_stride + d] = out[d * kBandRows] * rounded.factor;
      }
    }
  }

 private:
  // Scores of plain rows are dots, those of others are logits.
  PAGODA_HD float to_log2() const { return plain_ ? scale_ * kLog2e : kLog2e; }

  PAGODA_HD float* band_array(float* array, int32_t band) const {
    return array + band * kBandRows * head_dim_;
  }

  void start_band(int32_t index) {
    Band& band = s_.bands[index];
    const int32_t first = index * kBandRows;
    band.num_rows = min_of(kBandRows, rows_.num_rows - first);
    float* q = band_array(q_, index);
    __builtin_memset(q, 0, sizeof(float) * kBandRows * head_dim_);
    __builtin_memset(band_array(out_, index), 0, sizeof(float) * kBandRows * head_dim_);
    for (int32_t lane = 0; lane < kBandRows; ++lane) {
      // Lanes past the last row repeat it, with q = 0.
      const int32_t row = first + min_of(lane, band.num_rows - 1);
      band.max[lane] = -kInfinity;
      band.sum[lane] = 0.0f;
      band.q_pos[lane] = rows_.q_pos(row);
      const KvRange kv = any_visible(rows_.rule, band.q_pos[lane], band.q_pos[lane]);
      band.kv_begin[lane] = kv.begin;
      band.kv_end[lane] = kv.end;
      band.slope[lane] = Alibi::slope(params_.score, rows_.q_head(kv_head_, row));
      if (lane < band.num_rows) pack_query(row, q + lane);
    }
    const int32_t q_first = band.q_pos[0];
    const int32_t q_last = band.q_pos[kBandRows - 1];
    band.any = any_visible(rows_.rule, q_first, q_last);
    band.unmasked =
        without_bias(params_.score, rows_.rule, all_visible(rows_.rule, q_first, q_last));
  }

  void pack_query(int32_t row, float* lane) {
    const int64_t offset =
        row_offset(params_.q, rows_.first_token + rows_.q_idx(row), rows_.q_head(kv_head_, row));
    visit_dtype(params_.q.dtype, [&](auto type) {
      load_row(s_.row, static_cast<const decltype(type)*>(params_.q.data) + offset, head_dim_);
    });
    for (int32_t d = 0; d < head_dim_; ++d) lane[d * kBandRows] = s_.row[d];
  }

  void load_strip(int32_t begin, int32_t end) {
    s_.strip.load(params_, rows_.seq, kv_head_, {begin, end}, kv_);
    for (int32_t b = 0; b < num_bands_; ++b) {
      if (is_masked(s_.bands[b])) return s_.strip.set_infinite_aside(kv_);
    }
  }

  PAGODA_HD bool is_masked(const Band& band) const {
    const Strip& strip = s_.strip;
    return !band.unmasked.contains({strip.begin, strip.begin + strip.num_keys});
  }

  void attend_band(int32_t index) {
    Band& band = s_.bands[index];
    const Strip& strip = s_.strip;
    if (band.any.end <= strip.begin || band.any.begin >= strip.begin + strip.num_keys) return;
    multiply_keys(band_array(q_, index));
    // Values set aside for another band's sake are missing from the strip for this one too.
    const bool masked = is_masked(band) || strip.num_infinite > 0;
    if (masked) find_visible(band);
    float* out = band_array(out_, index);
    if (plain_) {
      masked ? softmax<true, true>(&band, out) : softmax<true, false>(&band, out);
    } else {
      masked ? softmax<false, true>(&band, out) : softmax<false, false>(&band, out);
    }
    weigh_values(out);
    if (strip.num_infinite > 0) add_infinite(out);
  }

  // scores[key][row] = dot(k, q), summed in runs of channels: a large product then costs low bits
  // in the sums of its own run only, not in all that follow.
  void multiply_keys(const float* q) {
    for (int32_t i = 0; i < s_.strip.num_keys; i += kUnroll) {
      const float* k = kv_.k + i * head_dim_;
      float* scores = s_.scores[i];
      multiply_run<true>(q, k, min_of(kRunChannels, head_dim_), scores);
      for (int32_t d = kRunChannels; d < head_dim_; d += kRunChannels) {
        multiply_run<false>(q + d * kBandRows, k + d, min_of(kRunChannels, head_dim_ - d), scores);
      }
    }
  }

  // Adds some channels to the scores [kUnroll][kBandRows] of a few keys, or begins with them.
  template <bool kFirst>
  PAGODA_HD void multiply_run(const float* q, const float* k, int32_t num_channels,
                              float* scores) const {
    F32 sum[kUnroll][kBandVectors];
    for (auto& key : sum) {
      for (F32& x : key) x = F32(0.0f);
    }
#pragma GCC unroll 8
    for (int32_t d = 0; d < num_channels; ++d) {
      F32 query[kBandVectors];
      for (int v = 0; v < kBandVectors; ++v) query[v] = F32::load(q + d * kBandRows + v * kLanes);
      for (int j = 0; j < kUnroll; ++j) {
        const F32 key(k[j * head_dim_ + d]);
        for (int v = 0; v < kBandVectors; ++v) sum[j][v] = fma(key, query[v], sum[j][v]);
      }
    }
    for (int j = 0; j < kUnroll; ++j) {
      for (int v = 0; v < kBandVectors; ++v) {
        float* score = scores + j * kBandRows + v * kLanes;
        (kFirst ? sum[j][v] : F32::load(score) + sum[j][v]).store(score);
      }
    }
  }

  void find_visible(const Band& band) {
    const Strip& strip = s_.strip;
    for (int32_t i = 0; i < strip.num_keys; ++i) {
      const I32 key(strip.begin + i);
      for (int v = 0; v < kBandVectors; ++v) {
        const Mask32 visible = (key >= I32::load(band.kv_begin + v * kLanes)) &
                               (key < I32::load(band.kv_end + v * kLanes));
        __builtin_memcpy(&s_.visible[i][v * kLanes], &visible, kVectorBytes);
      }
      if (is_interval(rows_.rule)) continue;
      for (int32_t lane = 0; lane < kBandRows; ++lane) {
        if (!is_visible(rows_.rule, band.q_pos[lane], strip.begin + i)) s_.visible[i][lane] = 0;
      }
    }
  }

  // Dot to score.
  template <bool kPlain>
  PAGODA_HD F32 transform(const Band& band, int32_t i, int v, F32 dot) const {
    if constexpr (kPlain) {
      return dot;
    } else {
      const int32_t key = s_.strip.begin + i;
      const I32 q_pos = I32::load(band.q_pos + v * kLanes);
      ScorePlace<F32> place{F32::load(band.slope + v * kLanes), F32(I32(key) - q_pos), F32(0.0f)};
      const int32_t kv_idx = key - rows_.rule.context_len();
      if (Bias::active(params_.score) && kv_idx >= 0) {
        for (int lane = 0; lane < kLanes; ++lane) {
          const int32_t q_idx = q_pos.raw[lane] - rows_.rule.context_len();
          place.bias.raw[lane] = Bias::value(params_.score, rows_.seq, q_idx, kv_idx);
        }
      }
      return logit(params_.score, dot, F32(scale_ * s_.strip.k_scale[i]), place);
    }
  }

  // scores: dots become weights; moves the band's maxima, sums and outputs on.
  template <bool kPlain, bool kMasked>
  void softmax(Band* band, float* out) {
    const int32_t num_keys = s_.strip.num_keys;
    const F32 scale(to_log2());
    F32 anchor[kBandVectors];
    F32 sum[kBandVectors];
    bool grew = false;
    F32 factor[kBandVectors];
    for (int v = 0; v < kBandVectors; ++v) {
      F32 largest(-kInfinity);
      for (int32_t i = 0; i < num_keys; ++i) {
        float* score = &s_.scores[i][v * kLanes];
        F32 x = transform<kPlain>(*band, i, v, F32::load(score));
        if constexpr (kMasked) {
          const Mask32 visible{I32::load(&s_.visible[i][v * kLanes]).raw};
          x = select(visible, x, F32(-kInfinity));
          if (s_.strip.num_infinite > 0) hide_infinite(x, &s_.visible[i][v * kLanes]);
        }
        if constexpr (kMasked || !kPlain) x.store(score);
        largest = max_lanes(largest, x);
      }
      const F32 old_max = F32::load(band->max + v * kLanes);
      const F32 new_max = max_lanes(largest, old_max);
      anchor[v] = softmax_anchor(new_max);
      factor[v] = softmax_weight(old_max, anchor[v], scale);
      grew |= any(old_max < new_max);
      new_max.store(band->max + v * kLanes);
      sum[v] = F32::load(band->sum + v * kLanes) * factor[v];
    }
    if (grew) rescale(out, factor);
    for (int32_t i = 0; i < num_keys; ++i) {
      for (int v = 0; v < kBandVectors; ++v) {
        float* score = &s_.scores[i][v * kLanes];
        const F32 x = F32::load(score);
        const F32 weight = softmax_weight(x, anchor[v], scale);
        sum[v] = sum[v] + weight;
        store_weight<kMasked>(score, x, weight, i);
      }
    }
    for (int v = 0; v < kBandVectors; ++v) sum[v].store(band->sum + v * kLanes);
  }

  // What a bias of -inf hides is hidden too.
  PAGODA_HD static void hide_infinite(F32 x, int32_t* visible) {
    for (int lane = 0; lane < kLanes; ++lane) {
      if (x.raw[lane] == -kInfinity) visible[lane] = 0;
    }
  }

  // The weight of V: with its scale per token, which is garbage where the key is hidden.
  template <bool kMasked>
  PAGODA_HD void store_weight(float* score, F32 x, F32 weight, int32_t i) const {
    if (has_token_scales_) {
      weight = weight * F32(s_.strip.v_scale[i]);
      if constexpr (kMasked) weight = select(x == F32(-kInfinity), F32(0.0f), weight);
    }
    weight.store(score);
  }

  void rescale(float* out, const F32 (&factor)[kBandVectors]) {
    for (int32_t d = 0; d < head_dim_; ++d) {
      for (int v = 0; v < kBandVectors; ++v) {
        float* x = out + d * kBandRows + v * kLanes;
        (F32::load(x) * factor[v]).store(x);
      }
    }
  }

  // out[d][row] += sum over keys of weight[key][row] * v[key][d].
  void weigh_values(float* out) {
    const int32_t num_keys = s_.strip.num_keys;
    for (int32_t d = 0; d < head_dim_; d += kUnroll) {
      F32 sum[kUnroll][kBandVectors];
      for (int j = 0; j < kUnroll; ++j) {
        for (int v = 0; v < kBandVectors; ++v) {
          sum[j][v] = F32::load(out + (d + j) * kBandRows + v * kLanes);
        }
      }
      for (int32_t i = 0; i < num_keys; ++i) {
        const float* value = kv_.v + i * head_dim_ + d;
        F32 weight[kBandVectors];
        for (int v = 0; v < kBandVectors; ++v) weight[v] = F32::load(&s_.scores[i][v * kLanes]);
        for (int j = 0; j < kUnroll; ++j) {
          const F32 channel(value[j]);
          for (int v = 0; v < kBandVectors; ++v) sum[j][v] = fma(channel, weight[v], sum[j][v]);
        }
      }
      for (int j = 0; j < kUnroll; ++j) {
        for (int v = 0; v < kBandVectors; ++v) {
          sum[j][v].store(out + (d + j) * kBandRows + v * kLanes);
        }
      }
    }
  }

  // Only the rows that see a value that is not finite get it: 0 * NaN is NaN.
  void add_infinite(float* out) {
    const Strip& strip = s_.strip;
    for (int32_t u = 0; u < strip.num_infinite; ++u) {
      const int32_t i = strip.infinite[u];
      strip.load_value(params_, kv_head_, i, s_.row);
      for (int32_t lane = 0; lane < kBandRows; ++lane) {
        if (s_.visible[i][lane] == 0) continue;
        for (int32_t d = 0; d < head_dim_; ++d) {
          out[d * kBandRows + lane] += s_.scores[i][lane] * s_.row[d];
        }
      }
    }
  }

  const AttentionParams& params_;
  const ItemRows rows_;
  const int32_t kv_head_;
  const int32_t head_dim_;
  const float scale_;
  const bool has_token_scales_;
  const bool plain_;
  int32_t num_bands_;
  ManyRowsScratch& s_;
  float* q_;
  float* out_;
  StripArrays kv_;
};

void attend_many_rows(const AttentionParams& params, const WorkItem& item, KvRange kv,
                      Scratch scratch, RowStates result) {
  ManyRows work(params, item, scratch);
  work.run(kv);
  work.store(result);
}

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_ATTEND_MANY_ROWS_H_
