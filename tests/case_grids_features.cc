// Each feature alone and with every other one; head ratios, page sizes, head dimensions; random
// mixtures of all.
#include <functional>
#include <string>

#include "case_grids_parts.h"
#include "cases_memory.h"

namespace pagoda::testing {
namespace {

using Seqs = std::vector<std::pair<int32_t, int32_t>>;

// Two features of one axis exclude each other.
struct Feature {
  std::string axis;
  std::function<void(Case*)> apply;
};

std::vector<Seqs> shapes() {
  return {{{1, 70}, {1, 1}, {1, 200}, {2, 33}}, {{17, 80}, {5, 40}, {1, 19}}, {{70, 70}, {33, 33}}};
}

std::vector<Feature> dtype_features() {
  struct DTypes {
    DType q, kv, out;
    ScaleKind scales;
  };
  const DType bf16 = DType::kBFloat16, f16 = DType::kFloat16, f32 = DType::kFloat32;
  const DType e4m3 = DType::kFloat8E4M3, e5m2 = DType::kFloat8E5M2, int8 = DType::kInt8;
  std::vector<Feature> features;
  for (const DTypes& t :
       {DTypes{f16, f16, f16, ScaleKind::kNone}, DTypes{f32, f32, f32, ScaleKind::kNone},
        DTypes{bf16, e4m3, bf16, ScaleKind::kScalar},
        DTypes{bf16, e4m3, bf16, ScaleKind::kPerSeqHead},
        DTypes{bf16, e4m3, bf16, ScaleKind::kPerTokenHead},
        DTypes{bf16, e5m2, bf16, ScaleKind::kPerHead},
        DTypes{bf16, e5m2, bf16, ScaleKind::kPerTokenHead},
        DTypes{bf16, int8, bf16, ScaleKind::kPerTokenHead},
        DTypes{f16, e4m3, f16, ScaleKind::kPerHead},
        DTypes{f16, int8, f16, ScaleKind::kPerTokenHead}, DTypes{f32, e5m2, f32, ScaleKind::kNone},
        DTypes{f32, int8, f32, ScaleKind::kPerTokenHead},
        DTypes{e4m3, e4m3, bf16, ScaleKind::kNone}, DTypes{e4m3, e4m3, bf16, ScaleKind::kScalar},
        DTypes{e4m3, e4m3, bf16, ScaleKind::kPerSeqHead}}) {
    features.push_back({"dtype", [t](Case* c) {
                          c->q_dtype = t.q;
                          c->kv_dtype = t.kv;
                          c->out_dtype = t.out;
                          c->scales = t.scales;
                        }});
  }
  return features;
}

std::vector<Feature> mask_features() {
  return {{"causal", [](Case* c) { c->causal = false; }},
          {"causal", [](Case* c) { c->causal_per_seq = true; }},
          {"window", [](Case* c) { c->window_left = 20; }},
          {"window", [](Case* c) { c->window_left = 0; }},
          {"window",
           [](Case* c) {
             c->window_left = 13;
             c->window_right = 6;
             c->causal = false;
           }},
          {"chunk",
           [](Case* c) {
             c->chunk_size = 16;
             c->chunk_lookback = 1;
           }},
          {"chunk", [](Case* c) { c->chunk_size = 37; }},
          {"prefix", [](Case* c) { c->prefix_window_left = 9; }},
          {"tree", [](Case* c) { c->tree = true; }},
          {"ranges", [](Case* c) { c->num_ranges = 3; }},
          {"ranges", [](Case* c) {
             c->num_ranges = 2;
             c->clamp_ranges = true;
             c->window_left = 8;
           }}};
}

std::vector<Feature> score_features() {
  return {{"soft cap", [](Case* c) { c->soft_cap = 1.5f; }},
          {"scale", [](Case* c) { c->softmax_scale = 0.31f; }},
          {"alibi", [](Case* c) { c->alibi = true; }},
          {"alibi", [](Case* c) { c->alibi = c->alibi_sqrt = true; }},
          {"bias", [](Case* c) { c->bias = 1; }},
          {"bias", [](Case* c) { c->bias = 2; }},
          {"sinks", [](Case* c) { c->sinks = true; }},
          {"data", [](Case* c) { c->data = DataKind::kLarge; }},
          {"data", [](Case* c) { c->data = DataKind::kNegative; }},
          {"data", [](Case* c) { c->data = DataKind::kLargeAll; }},
          {"data", [](Case* c) { c->data = DataKind::kNegativeAll; }}};
}

std::vector<Feature> memory_features() {
  return {{"layout", [](Case* c) { c->layout = KvLayout::kHnd; }},
          {"layout", [](Case* c) { c->layout = KvLayout::kInterleaved; }},
          {"layout", [](Case* c) { c->layout = KvLayout::kPadded; }},
          {"table", [](Case* c) { c->table = TableKind::kCsr; }},
          {"lse", [](Case* c) { c->lse = false; }},
          {"lse", [](Case* c) { c->lse_tokens_heads = true; }},
          {"padding", [](Case* c) { c->padding_rows = 6; }},
          {"split",
           [](Case* c) {
             c->split_policy = SplitPolicy::kFixed;
             c->fixed_split_keys = 64;
           }},
          {"out", [](Case* c) { c->out_dtype = DType::kBFloat16; }},
          {"out", [](Case* c) { c->out_dtype = DType::kFloat8E4M3; }},
          {"out", [](Case* c) {
             c->out_dtype = DType::kFloat8E4M3;
             c->out_scale = true;
           }}};
}

// dtypes first: features after them change the output's.
std::vector<Feature> all_features() {
  std::vector<Feature> features = dtype_features();
  for (const auto& more : {mask_features(), score_features(), memory_features()}) {
    features.insert(features.end(), more.begin(), more.end());
  }
  return features;
}

void add_features(std::vector<Case>* cases) {
  const std::vector<Feature> features = all_features();
  for (size_t i = 0; i < features.size(); ++i) {
    Case alone;
    features[i].apply(&alone);
    for (const Seqs& seqs : shapes()) {
      cases->push_back(alone);
      cases->back().seqs = seqs;
    }
    // Long enough to be split between workers.
    cases->push_back(alone);
    cases->back().seqs = {{1, 2500}, {4, 700}};
    for (size_t j = i + 1; j < features.size(); ++j) {
      if (features[i].axis == features[j].axis) continue;
      Case both = alone;
      features[j].apply(&both);
      for (const Seqs& seqs : shapes()) {
        cases->push_back(both);
        cases->back().seqs = seqs;
      }
    }
  }
}

void add_head_ratios(std::vector<Case>* cases) {
  for (const int32_t ratio : {1, 3, 5, 6, 7, 8, 16, 32, 71}) {
    for (const int32_t num_kv_heads : {1, 2, 3}) {
      for (const Seqs& seqs : {Seqs{{1, 50}, {1, 130}}, Seqs{{5, 40}, {9, 9}}, Seqs{{33, 48}}}) {
        Case c{.seqs = seqs, .head_dim = 32};
        set_heads({ratio * num_kv_heads, num_kv_heads}, &c);
        cases->push_back(c);
      }
    }
  }
}

void add_page_sizes(std::vector<Case>* cases) {
  for (const int32_t page_size : {1, 8, 16, 48, 64, 784}) {
    for (const KvLayout layout : {KvLayout::kNhd, KvLayout::kHnd}) {
      for (const DType kv_dtype : {DType::kBFloat16, DType::kFloat8E4M3, DType::kInt8}) {
        for (const Seqs& seqs : {Seqs{{1, 900}, {3, 97}}, Seqs{{50, 130}, {40, 40}}}) {
          Case c{.seqs = seqs, .page_size = page_size, .kv_dtype = kv_dtype, .layout = layout};
          if (kv_dtype == DType::kInt8) c.scales = ScaleKind::kPerTokenHead;
          cases->push_back(c);
        }
      }
    }
  }
}

void add_head_dims(std::vector<Case>* cases) {
  const std::vector<Feature> dtypes = dtype_features();
  for (int32_t head_dim = 8; head_dim <= 256; head_dim += 8) {
    for (const Seqs& seqs : {Seqs{{1, 90}, {2, 33}}, Seqs{{33, 70}}}) {
      Case c{.seqs = seqs, .head_dim = head_dim};
      cases->push_back(c);
      dtypes[cases->size() % dtypes.size()].apply(&c);
      cases->push_back(c);
    }
  }
}

// The narrowest types of all.
void add_e4m3_queries_over_int8(std::vector<Case>* cases) {
  for (const Seqs& seqs : {Seqs{{1, 90}, {2, 33}}, Seqs{{33, 70}, {3, 200}}}) {
    for (const Feature& feature : mask_features()) {
      Case c{.seqs = seqs,
             .q_dtype = DType::kFloat8E4M3,
             .kv_dtype = DType::kInt8,
             .scales = ScaleKind::kPerTokenHead};
      feature.apply(&c);
      cases->push_back(c);
    }
  }
}

Seqs random_seqs(Random* random) {
  Seqs seqs(random->between(1, 6));
  for (auto& seq : seqs) {
    const bool decode = random->chance(0.5);
    seq.first = static_cast<int32_t>(decode ? random->between(0, 4) : random->between(1, 90));
    const int64_t context = random->chance(0.1) ? -random->between(0, seq.first)
                                                : random->between(0, decode ? 600 : 150);
    seq.second = static_cast<int32_t>(seq.first + context);
  }
  return seqs;
}

}  // namespace

std::vector<Case> feature_cases() {
  std::vector<Case> cases;
  add_features(&cases);
  add_head_ratios(&cases);
  add_page_sizes(&cases);
  add_head_dims(&cases);
  add_e4m3_queries_over_int8(&cases);
  add_8bit_prompts(&cases);
  return seeded(cases);
}

std::vector<Case> random_cases(int count, uint32_t seed) {
  Random random(seed, "random cases");
  const std::vector<Feature> features = all_features();
  const double chance = 4.0 / static_cast<double>(features.size());  // four features on average
  std::vector<Case> cases(count);
  for (Case& c : cases) {
    c.seqs = random_seqs(&random);
    const auto num_kv_heads = static_cast<int32_t>(random.between(1, 3));
    set_heads({num_kv_heads * random.pick(std::vector<int32_t>{1, 2, 3, 4, 5, 7, 8}), num_kv_heads},
              &c);
    c.head_dim = static_cast<int32_t>(8 * random.between(1, 16));
    c.page_size = static_cast<int32_t>(random.chance(0.5) ? 16 : random.between(1, 100));
    for (const Feature& feature : features) {
      if (random.chance(chance)) feature.apply(&c);
    }
    c.seed = static_cast<uint32_t>(random.below(int64_t{1} << 32));
  }
  return cases;
}

}  // namespace pagoda::testing
