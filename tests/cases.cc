#include "cases.h"

#include <algorithm>
#include <charconv>
#include <climits>
#include <sstream>
#include <string_view>

namespace pagoda::testing {
namespace {

// One key of a case line: how its value is printed, and parsed (false = not a value).
struct Field {
  const char* key;
  std::string wants;
  std::string (*print)(const Case& c);
  bool (*parse)(const std::string& text, Case* c);
};

template <class T>
bool parse_number(const std::string& text, T* value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *value);
  return error == std::errc() && stop == end;
}

bool parse_int_in(const std::string& text, int32_t min, int32_t max, int32_t* value) {
  return parse_number(text, value) && min <= *value && *value <= max;
}

// "a/b".
bool split_pair(const std::string& text, char separator, std::string* first, std::string* second) {
  const size_t at = text.find(separator);
  if (at == std::string::npos) return false;
  *first = text.substr(0, at);
  *second = text.substr(at + 1);
  return true;
}

template <auto kMember, int32_t kMin, int32_t kMax = INT_MAX>
Field int_field(const char* key) {
  return {key,
          kMax == INT_MAX
              ? "an integer from " + std::to_string(kMin)
              : "an integer in [" + std::to_string(kMin) + ", " + std::to_string(kMax) + "]",
          [](const Case& c) { return std::to_string(c.*kMember); },
          [](const std::string& text, Case* c) {
            return parse_int_in(text, kMin, kMax, &(c->*kMember));
          }};
}

template <auto kFirst, auto kSecond, int32_t kMin>
Field pair_field(const char* key, const char* wants) {
  return {
      key, wants,
      [](const Case& c) { return std::to_string(c.*kFirst) + "/" + std::to_string(c.*kSecond); },
      [](const std::string& text, Case* c) {
        std::string first, second;
        return split_pair(text, '/', &first, &second) &&
               parse_int_in(first, kMin, INT_MAX, &(c->*kFirst)) &&
               parse_int_in(second, kMin, INT_MAX, &(c->*kSecond));
      }};
}

template <auto kMember>
Field float_field(const char* key) {
  return {key, "a finite number >= 0",
          [](const Case& c) {
            char text[32];
            return std::string(text, std::to_chars(text, text + sizeof(text), c.*kMember).ptr);
          },
          [](const std::string& text, Case* c) {
            // Not inf and not nan: their difference with themselves is nan.
            float& value = c->*kMember;
            return parse_number(text, &value) && value >= 0.0f && value - value == 0.0f;
          }};
}

template <auto kMember>
Field bool_field(const char* key) {
  return {key, "0 or 1", [](const Case& c) { return std::string(c.*kMember ? "1" : "0"); },
          [](const std::string& text, Case* c) {
            c->*kMember = text == "1";
            return text == "0" || text == "1";
          }};
}

// The i-th name stands for the enumerator with value i; an empty name is no value.
template <auto kMember, const auto& kNames>
Field enum_field(const char* key) {
  std::string wants;
  for (const std::string_view name : kNames) {
    if (!name.empty()) wants += (wants.empty() ? "one of " : ", ") + std::string(name);
  }
  return {key, wants,
          [](const Case& c) { return std::string(kNames[static_cast<size_t>(c.*kMember)]); },
          [](const std::string& text, Case* c) {
            for (size_t i = 0; i < std::size(kNames); ++i) {
              if (text.empty() || text != kNames[i]) continue;
              c->*kMember = static_cast<std::decay_t<decltype(c->*kMember)>>(i);
              return true;
            }
            return false;
          }};
}

constexpr std::string_view kDTypes[] = {"f32", "f16", "bf16", "e4m3", "e5m2", "int8"};
constexpr std::string_view kLayouts[] = {"nhd", "hnd", "interleaved", "padded"};
constexpr std::string_view kTables[] = {"dense", "csr"};
constexpr std::string_view kScales[] = {"none", "scalar", "per_head", "per_seq_head",
                                        "per_token_head"};
constexpr std::string_view kZeroScales[] = {"none", "q", "k", "v", "all"};
constexpr std::string_view kDataKinds[] = {"normal", "large", "negative", "large_all",
                                           "negative_all"};
constexpr std::string_view kNonFinites[] = {"none", "nan_q", "nan_k", "nan_v", "inf_k", "inf_v"};
constexpr std::string_view kPolicies[] = {"balanced", "fixed"};

std::string print_seqs(const Case& c) {
  if (c.seqs.empty()) return "none";
  std::ostringstream text;
  const char* separator = "";
  for (const auto& [q_len, k_len] : c.seqs) {
    text << separator << q_len << 'x' << k_len;
    separator = ",";
  }
  return text.str();
}

bool parse_seqs(const std::string& text, Case* c) {
  c->seqs.clear();
  if (text == "none") return true;
  constexpr int32_t kMaxLength = 1 << 24;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    std::string first, second;
    int32_t q_len, k_len;
    if (!split_pair(text.substr(begin, end - begin), 'x', &first, &second) ||
        !parse_int_in(first, 0, kMaxLength, &q_len) ||
        !parse_int_in(second, 0, kMaxLength, &k_len)) {
      return false;
    }
    c->seqs.emplace_back(q_len, k_len);
    begin = end + 1;
  }
  return true;
}

Field heads_field() {
  Field field = pair_field<&Case::num_q_heads, &Case::num_kv_heads, 1>(
      "heads", "query heads / KV heads, the first a multiple of the second");
  field.parse = [](const std::string& text, Case* c) {
    std::string first, second;
    return split_pair(text, '/', &first, &second) &&
           parse_int_in(first, 1, 1 << 16, &c->num_q_heads) &&
           parse_int_in(second, 1, 1 << 16, &c->num_kv_heads) &&
           c->num_q_heads % c->num_kv_heads == 0;
  };
  return field;
}

Field head_dim_field() {
  Field field = int_field<&Case::head_dim, 8>("d");
  field.wants = "a multiple of 8 in [8, 256]";
  field.parse = [](const std::string& text, Case* c) {
    return parse_int_in(text, 8, 256, &c->head_dim) && c->head_dim % 8 == 0;
  };
  return field;
}

Field seed_field() {
  return {"seed", "an integer in [0, 2^32)", [](const Case& c) { return std::to_string(c.seed); },
          [](const std::string& text, Case* c) { return parse_number(text, &c->seed); }};
}

const std::vector<Field>& fields() {
  static const std::vector<Field> kFields = {
      {"seqs", "q_len x k_len pairs, e.g. 5x18,1x1328, or none", print_seqs, parse_seqs},
      heads_field(),
      head_dim_field(),
      int_field<&Case::page_size, 1, 1 << 20>("page"),
      enum_field<&Case::q_dtype, kDTypes>("q"),
      enum_field<&Case::kv_dtype, kDTypes>("kv"),
      enum_field<&Case::out_dtype, kDTypes>("out"),
      enum_field<&Case::layout, kLayouts>("layout"),
      enum_field<&Case::table, kTables>("table"),
      enum_field<&Case::scales, kScales>("scales"),
      enum_field<&Case::zero_scales, kZeroScales>("zero_scales"),
      enum_field<&Case::data, kDataKinds>("data"),
      enum_field<&Case::non_finite, kNonFinites>("non_finite"),
      bool_field<&Case::causal>("causal"),
      bool_field<&Case::causal_per_seq>("causal_per_seq"),
      pair_field<&Case::window_left, &Case::window_right, -1>("window",
                                                              "left/right, each -1 or more"),
      pair_field<&Case::chunk_size, &Case::chunk_lookback, 0>("chunk",
                                                              "size/lookback, each 0 or more"),
      int_field<&Case::prefix_window_left, -1>("prefix_window"),
      bool_field<&Case::tree>("tree"),
      int_field<&Case::num_ranges, 0, 1024>("ranges"),
      bool_field<&Case::clamp_ranges>("clamp_ranges"),
      float_field<&Case::soft_cap>("soft_cap"),
      float_field<&Case::softmax_scale>("softmax_scale"),
      bool_field<&Case::alibi>("alibi"),
      bool_field<&Case::alibi_sqrt>("alibi_sqrt"),
      bool_field<&Case::sinks>("sinks"),
      int_field<&Case::bias, 0, 2>("bias"),
      bool_field<&Case::lse>("lse"),
      bool_field<&Case::lse_tokens_heads>("lse_tokens_heads"),
      bool_field<&Case::out_scale>("out_scale"),
      int_field<&Case::padding_rows, 0, 1 << 20>("padding_rows"),
      enum_field<&Case::split_policy, kPolicies>("split"),
      int_field<&Case::fixed_split_keys, 0>("split_keys"),
      seed_field()};
  return kFields;
}

const Field* find_field(const std::string& key) {
  for (const Field& field : fields()) {
    if (key == field.key) return &field;
  }
  return nullptr;
}

std::string all_keys() {
  std::string keys;
  for (const Field& field : fields()) keys += (keys.empty() ? "" : ", ") + std::string(field.key);
  return keys;
}

}  // namespace

std::string to_line(const Case& c) {
  std::ostringstream line;
  line << "seqs=" << print_seqs(c);
  for (const Field& field : fields()) {
    const std::string value = field.print(c);
    if (field.parse == parse_seqs || value == field.print(Case{})) continue;
    line << ' ' << field.key << '=' << value;
  }
  return line.str();
}

bool parse_case(const std::string& line, Case* c, std::string* error) {
  Case result;
  std::vector<const Field*> seen;
  std::istringstream words(line);
  for (std::string word; words >> word;) {
    std::string key, value;
    if (!split_pair(word, '=', &key, &value)) {
      *error = "case line: got \"" + word + "\", wants key=value";
      return false;
    }
    const Field* field = find_field(key);
    if (field == nullptr) {
      *error = "case line: got the unknown key \"" + key + "\", wants one of " + all_keys();
      return false;
    }
    if (std::find(seen.begin(), seen.end(), field) != seen.end()) {
      *error = key + ": got a second value \"" + value + "\", wants one";
      return false;
    }
    if (!field->parse(value, &result)) {
      *error = key + ": got \"" + value + "\", wants " + field->wants;
      return false;
    }
    seen.push_back(field);
  }
  if (std::find(seen.begin(), seen.end(), find_field("seqs")) == seen.end()) {
    *error = "seqs: got nothing, wants " + find_field("seqs")->wants;
    return false;
  }
  *c = result;
  return true;
}

}  // namespace pagoda::testing
