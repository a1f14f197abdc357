#include "problem_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <concepts>
#include <functional>
#include <vector>

#include "dtype_names.h"
#include "error.h"

namespace pagoda::tools {
namespace {

// Each parse() returns false if `text` is no such value.
template <class Number>
requires std::same_as<Number, int32_t> || std::same_as<Number, float>
bool parse(const std::string& text, Number* value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *value);
  return error == std::errc() && stop == end;
}

bool parse(const std::string& text, bool* value) {
  *value = text == "true";
  return text == "true" || text == "false";
}

bool parse(const std::string& text, SplitPolicy* value) {
  *value = text == "fixed" ? SplitPolicy::kFixed : SplitPolicy::kBalanced;
  return text == "fixed" || text == "balanced";
}

bool parse(const std::string& text, LseLayout* value) {
  *value = text == "tokens_heads" ? LseLayout::kTokensHeads : LseLayout::kHeadsTokens;
  return text == "tokens_heads" || text == "heads_tokens";
}

bool parse(const std::string& text, KvLayout* value) {
  *value = text == "hnd" ? KvLayout::kHnd : KvLayout::kNhd;
  return text == "hnd" || text == "nhd";
}

bool parse(const std::string& text, std::optional<DType>* value) {
  *value = dtype_from_safetensors_name(text);
  return value->has_value();
}

struct Option {
  const char* key;
  const char* wants;
  std::function<bool(const std::string& text)> set;
};

template <class T>
Option option(const char* key, const char* wants, T* value) {
  return {key, wants, [value](const std::string& text) { return parse(text, value); }};
}

std::vector<Option> options_into(ProblemOptions* options) {
  AttentionProblem* problem = &options->problem;
  AttentionMask* mask = &problem->mask;
  const char* integer = "an integer";
  const char* number = "a number";
  const char* boolean = "true or false";
  return {
      option("softmax_scale", number, &problem->softmax_scale),
      option("logits_soft_cap", number, &problem->logits_soft_cap),
      option("alibi_sqrt", boolean, &problem->alibi_sqrt),
      option("causal", boolean, &mask->causal),
      option("window_left", integer, &mask->window_left),
      option("window_right", integer, &mask->window_right),
      option("chunk_size", integer, &mask->chunk_size),
      option("chunk_lookback", integer, &mask->chunk_lookback),
      option("prefix_window_left", integer, &mask->prefix_window_left),
      option("clamp_ranges_to_window_left", boolean, &mask->clamp_ranges_to_window_left),
      option("max_seqlen_q", integer, &problem->max_seqlen_q),
      option("max_seqlen_k", integer, &problem->max_seqlen_k),
      option("split_policy", "balanced or fixed", &problem->split_policy),
      option("fixed_split_keys", integer, &problem->fixed_split_keys),
      option("lse_layout", "heads_tokens or tokens_heads", &problem->lse_layout),
      option("kv_layout", "nhd or hnd", &options->kv_layout),
      option("out_dtype", "F32, F16, BF16 or F8_E4M3", &options->out_dtype),
  };
}

std::string keys_of(const std::vector<Option>& options) {
  std::string keys;
  for (const Option& known : options) keys.append(keys.empty() ? "" : ", ").append(known.key);
  return keys;
}

}  // namespace

ProblemOptions parse_problem_options(const std::map<std::string, std::string>& metadata) {
  ProblemOptions options;
  const std::vector<Option> known = options_into(&options);
  for (const auto& [key, text] : metadata) {
    const auto found =
        std::find_if(known.begin(), known.end(),
                     [&name = key](const Option& candidate) { return name == candidate.key; });
    if (found == known.end()) {
      throw BadInput(fmt::format("metadata: got the unknown key \"{}\", wants one of {}", key,
                                 keys_of(known)));
    }
    if (!found->set(text)) {
      throw BadInput(fmt::format("metadata {}: got \"{}\", wants {}", key, text, found->wants));
    }
  }
  return options;
}

}  // namespace pagoda::tools
