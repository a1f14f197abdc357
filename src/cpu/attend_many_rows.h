// Prefill and chunks: the rows lie in the vector lanes. Q is packed once, transposed; K and V are
// packed a strip of keys at a time and broadcast, element by element or by pairs. So softmax, masks
// and score transforms are all per lane, any head ratio fills the lanes, and nothing is summed
// across them. What a row computes does not depend on which rows lie beside it.
#ifndef PAGODA_CPU_ATTEND_MANY_ROWS_H_
#define PAGODA_CPU_ATTEND_MANY_ROWS_H_

#include "cpu/kernels.h"
#include "cpu/kv_strip.h"
#include "cpu/load_rows.h"
#include "cpu/many_rows_amx.h"
#include "cpu/many_rows_band.h"
#include "cpu/many_rows_bf16.h"
#include "cpu/many_rows_f32.h"
#include "cpu/simd.h"
#include "plan/item_rows.h"
#include "semantics/quant.h"
#include "semantics/softmax.h"

namespace pagoda::cpu {
namespace {

struct ManyRowsScratch {
  Band bands[kManyRowsTile / kBandRows];
  Strip strip;
  alignas(64) float scores[kStripKeys][kBandRows];
  alignas(64) float weights[kStripKeys][kBandRows];  // or what the arithmetic packs in their place
  alignas(64) float factor[kBandRows];
  alignas(64) int32_t visible[kStripKeys][kBandRows];  // -1 or 0
  alignas(64) float row[kMaxHeadDim];
  // Behind it, by head_dim: out and q of the bands, k and v of the strip, as the arithmetic packs
  // them.
};

size_t many_rows_scratch_bytes(int32_t head_dim) {
  const size_t floats = size_t{2} * round_up(head_dim, kRowAlign) * (kManyRowsTile + kStripKeys);
  return sizeof(ManyRowsScratch) + floats * sizeof(float);
}

template <class Arithmetic>
class ManyRows {
  using Element = typename Arithmetic::Element;

 public:
  PAGODA_HD ManyRows(const AttentionParams& params, const WorkItem& item, Scratch scratch)
      : params_(params),
        rows_(params, item),
        gap_(hidden_gap(rows_.rule, rows_.q_pos(0))),
        kv_head_(item.kv_head),
        head_dim_(params.head_dim),
        padded_dim_(round_up(params.head_dim, kRowAlign)),
        scale_(logit_scale(params, item.seq, item.kv_head)),
        // With a scale of 0 a hidden key's -inf would become NaN in the exponent.
        plain_(is_plain_score(params.score) && !has_token_scales(params.kv) && scale_ > 0.0f),
        s_(*reinterpret_cast<ManyRowsScratch*>(scratch.data)) {
    out_ = reinterpret_cast<float*>(&s_ + 1);
    q_ = reinterpret_cast<Element*>(out_ + kManyRowsTile * padded_dim_);
    k_ = q_ + kManyRowsTile * padded_dim_;
    v_ = k_ + kStripKeys * Arithmetic::row_stride(head_dim_);
    weights_ = reinterpret_cast<Element*>(s_.weights);
    num_bands_ = ceil_div(rows_.num_rows, kBandRows);
  }

  void run(KvRange kv) {
    for (int32_t b = 0; b < num_bands_; ++b) start_band(b);
    StripRequest strip = request(strip_at(kv, kv.begin));
    while (!strip.keys.empty()) {
      s_.strip.template load<Arithmetic>(params_, strip, k_, v_);
      const StripRequest next = request(strip_at(kv, strip.keys.end));
      for (int32_t b = 0; b < num_bands_; ++b) attend_band(b, next);
      strip = next;
    }
  }

  // Back from lanes to rows.
  void store(RowStates result) const {
    for (int32_t first = 0; first < rows_.num_rows; first += kLanes) {
      const Band& band = s_.bands[first / kBandRows];
      const int32_t lane = first % kBandRows;
      const int32_t num_rows = min_of(kLanes, rows_.num_rows - first);
      float factor[kLanes];
      for (int32_t r = 0; r < num_rows; ++r) {
        const RoundedState rounded =
            rounded_state(band.max[lane + r], band.sum[lane + r], to_log2());
        result.state[first + r] = rounded.state;
        factor[r] = rounded.factor;
      }
      const float* out = band_array(out_, first / kBandRows) + lane;
      for (int32_t d = 0; d < head_dim_; d += kLanes) {
        F32 x[kLanes];
        for (int32_t i = 0; i < kLanes; ++i) x[i] = F32::load(out + (d + i) * kBandRows);
        transpose(x);
        for (int32_t r = 0; r < kLanes; ++r) {
          if (r == num_rows) break;
          (x[r] * F32(factor[r])).store(result.out + (first + r) * result.out_stride + d);
        }
      }
    }
  }

 private:
  // Scores of plain rows are dots, those of others are logits.
  PAGODA_HD float to_log2() const { return plain_ ? scale_ * kLog2e : kLog2e; }

  template <class T>
  PAGODA_HD T* band_array(T* array, int32_t band) const {
    return array + band * kBandRows * padded_dim_;
  }

  void start_band(int32_t index) {
    Band& band = s_.bands[index];
    const int32_t first = index * kBandRows;
    band.num_rows = min_of(kBandRows, rows_.num_rows - first);
    __builtin_memset(band_array(out_, index), 0, sizeof(float) * kBandRows * padded_dim_);
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
    }
    auto* words = reinterpret_cast<float*>(band_array(q_, index));
    for (int v = 0; v < kBandVectors; ++v) pack_queries(first + v * kLanes, words + v * kLanes);
    const int32_t q_first = band.q_pos[0];
    const int32_t q_last = band.q_pos[kBandRows - 1];
    band.any = any_visible(rows_.rule, q_first, q_last);
    band.unmasked =
        without_bias(params_.score, rows_.rule, all_visible(rows_.rule, q_first, q_last));
  }

  // One query row in each lane, from `first` on; zeros after the last row. words: [..][kBandRows],
  // each an f32, or a pair of bf16 along head_dim.
  void pack_queries(int32_t first, float* words) {
    alignas(64) Element rows[kLanes][kMaxHeadDim];
    for (int32_t r = 0; r < kLanes; ++r) {
      if (first + r < rows_.num_rows) {
        load_query(first + r, rows[r]);
      } else {
        __builtin_memset(rows[r], 0, sizeof(rows[r]));
      }
    }
    constexpr int32_t kWordElements = sizeof(float) / sizeof(Element);
    const int32_t num_words = head_dim_ / kWordElements;
    for (int32_t w = 0; w < num_words; w += kLanes) {
      F32 x[kLanes];
      for (int32_t r = 0; r < kLanes; ++r) {
        x[r] = F32::load(reinterpret_cast<const float*>(rows[r] + w * kWordElements));
      }
      transpose(x);
      for (int32_t i = 0; i < kLanes; ++i) x[i].store(words + (w + i) * kBandRows);
    }
  }

  void load_query(int32_t row, Element* destination) const {
    const int64_t offset =
        row_offset(params_.q, rows_.first_token + rows_.q_idx(row), rows_.q_head(kv_head_, row));
    visit_dtype(params_.q.dtype, [&](auto type) {
      load_row(destination, static_cast<const decltype(type)*>(params_.q.data) + offset, head_dim_);
    });
  }

  // The strip that begins at `key`, or past what no row sees; strips end on one grid for all items.
  PAGODA_HD KvRange strip_at(KvRange kv, int32_t key) const {
    const int32_t begin = past_gap(gap_, key, kStripKeys);
    return {begin, min_of(round_down(begin, kStripKeys) + kStripKeys, kv.end)};
  }

  PAGODA_HD StripRequest request(KvRange keys) const {
    bool masked = false;
    for (int32_t b = 0; b < num_bands_; ++b) masked |= !s_.bands[b].unmasked.contains(keys);
    return {rows_.seq, kv_head_, keys, masked};
  }

  void attend_band(int32_t index, const StripRequest& next) {
    Band& band = s_.bands[index];
    const Strip& strip = s_.strip;
    num_keys_ = min_of(strip.num_keys, band.any.end - strip.begin);
    if (num_keys_ <= 0 || band.any.begin >= strip.begin + num_keys_) return;
    multiply_strip(index, next);
    // Values set aside for another band's sake are missing from the strip for this one too.
    const bool masked =
        strip.num_infinite > 0 || !band.unmasked.contains({strip.begin, strip.begin + num_keys_});
    if (masked) find_visible(band);
    const bool grew = plain_
                          ? (masked ? softmax<true, true>(&band) : softmax<true, false>(&band))
                          : (masked ? softmax<false, true>(&band) : softmax<false, false>(&band));
    float* out = band_array(out_, index);
    weigh_values<Arithmetic>(weights_, v_, num_keys_, head_dim_, grew ? s_.factor : nullptr, out);
    if (strip.num_infinite > 0) add_infinite(out);
  }

  // scores[key][row] = dot(k, q). The next strip is fetched meanwhile, a few rows at a time: most
  // of a burst would be lost.
  void multiply_strip(int32_t index, const StripRequest& next) {
    constexpr int32_t kStep = Arithmetic::kKeyStep;
    constexpr int32_t kParts = kStripKeys / kStep;
    for (int32_t part = 0; part * kStep < num_keys_; ++part) {
      Strip::fetch(params_, next, index * kParts + part, num_bands_ * kParts);
      const int32_t i = part * kStep;
      multiply_keys<Arithmetic>(band_array(q_, index), k_ + i * Arithmetic::row_stride(head_dim_),
                                head_dim_, s_.scores + i);
    }
  }

  void find_visible(const Band& band) {
    const Strip& strip = s_.strip;
    for (int32_t i = 0; i < num_keys_; ++i) {
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

  // From dots to weights; moves the band's maxima and sums on. If it returns true, some maximum
  // grew: the outputs so far are still to be multiplied by s_.factor.
  template <bool kPlain, bool kMasked>
  bool softmax(Band* band) {
    const F32 scale(to_log2());
    F32 anchor[kBandVectors];
    F32 sum[kBandVectors];
    bool grew = false;
    // Keys after the last, as many as are multiplied at once, have a weight of 0.
    const int32_t num_weights = round_up(num_keys_, Arithmetic::kKeyStep);
    for (int v = 0; v < kBandVectors; ++v) {
      F32 largest(-kInfinity);
      for (int32_t i = 0; i < num_keys_; ++i) {
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
      for (int32_t i = num_keys_; i < num_weights; ++i) {
        F32(-kInfinity).store(&s_.scores[i][v * kLanes]);
      }
      const F32 old_max = F32::load(band->max + v * kLanes);
      const F32 new_max = max_lanes(largest, old_max);
      anchor[v] = softmax_anchor(new_max);
      const F32 factor = softmax_weight(old_max, anchor[v], scale);
      factor.store(s_.factor + v * kLanes);
      grew |= any(old_max < new_max);
      new_max.store(band->max + v * kLanes);
      sum[v] = F32::load(band->sum + v * kLanes) * factor;
    }
    // In registers: what is stored below might be *this.
    const float(*scores)[kBandRows] = s_.scores;
    Element* weights = weights_;
    for (int32_t i = 0; i < num_weights; i += 2) {
      F32 weight[2][kBandVectors];
      for (int j = 0; j < 2; ++j) {
        for (int v = 0; v < kBandVectors; ++v) {
          const F32 x = F32::load(&scores[i + j][v * kLanes]);
          weight[j][v] = softmax_weight(x, anchor[v], scale);
          sum[v] = sum[v] + weight[j][v];
        }
      }
      Arithmetic::store_weights(weight, i, weights);
    }
    for (int v = 0; v < kBandVectors; ++v) sum[v].store(band->sum + v * kLanes);
    return grew;
  }

  // What a bias of -inf hides is hidden too.
  PAGODA_HD static void hide_infinite(F32 x, int32_t* visible) {
    for (int lane = 0; lane < kLanes; ++lane) {
      if (x.raw[lane] == -kInfinity) visible[lane] = 0;
    }
  }

  // Only the rows that see a value that is not finite get it: 0 * NaN is NaN.
  void add_infinite(float* out) {
    const Strip& strip = s_.strip;
    for (int32_t u = 0; u < strip.num_infinite && strip.infinite[u].key < num_keys_; ++u) {
      const int32_t i = strip.infinite[u].key;
      strip.load_value(params_, kv_head_, strip.infinite[u], s_.row);
      for (int32_t lane = 0; lane < kBandRows; ++lane) {
        if (s_.visible[i][lane] == 0) continue;
        const float weight = Arithmetic::weight(weights_, i, lane);
        for (int32_t d = 0; d < head_dim_; ++d) {
          out[d * kBandRows + lane] += weight * s_.row[d];
        }
      }
    }
  }

  const AttentionParams& params_;
  const ItemRows rows_;
  const KvRange gap_;  // keys that no row sees, among those that some do
  const int32_t kv_head_;
  const int32_t head_dim_;
  const int32_t padded_dim_;  // channels of out and q; those past head_dim are 0 or not read
  const float scale_;
  const bool plain_;
  int32_t num_bands_;
  int32_t num_keys_;  // of the strip, up to the last that some row of the band sees
  ManyRowsScratch& s_;
  float* out_;
  Element* q_;
  Element* k_;
  Element* v_;
  Element* weights_;
};

template <class Arithmetic>
void attend_many_rows_by(const AttentionParams& params, const WorkItem& item, KvRange kv,
                         Scratch scratch, RowStates result) {
  ManyRows<Arithmetic> work(params, item, scratch);
  work.run(kv);
  work.store(result);
}

void attend_many_rows(const AttentionParams& params, const WorkItem& item, KvRange kv,
                      Scratch scratch, RowStates result) {
#if PAGODA_HAS_BF16_DOT
  if (held_by_bf16(params.q.dtype) && held_by_bf16(params.kv.dtype)) {
#if PAGODA_HAS_AMX
    const TileConfig tiles;
    return attend_many_rows_by<ManyRowsAmx>(params, item, kv, scratch, result);
#else
    return attend_many_rows_by<ManyRowsBf16>(params, item, kv, scratch, result);
#endif
  }
#endif
  attend_many_rows_by<ManyRowsF32>(params, item, kv, scratch, result);
}

}  // namespace
}  // namespace pagoda::cpu

#endif  // PAGODA_CPU_ATTEND_MANY_ROWS_H_
