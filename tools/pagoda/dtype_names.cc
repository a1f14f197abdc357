#include "dtype_names.h"

namespace pagoda::tools {
namespace {

struct Names {
  std::string_view short_name;
  std::string_view safetensors;
};

// Indexed by DType.
constexpr Names kNames[] = {{"f32", "F32"},      {"f16", "F16"},      {"bf16", "BF16"},
                            {"e4m3", "F8_E4M3"}, {"e5m2", "F8_E5M2"}, {"int8", "I8"},
                            {"uint8", "U8"},     {"int32", "I32"},    {"int64", "I64"}};

std::optional<DType> find(std::string_view Names::*field, std::string_view name) {
  for (int32_t i = 0; i < static_cast<int32_t>(std::size(kNames)); ++i) {
    if (kNames[i].*field == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

}  // namespace

std::string_view short_name(DType dtype) {
  return kNames[static_cast<int32_t>(dtype)].short_name;
}

std::string_view safetensors_name(DType dtype) {
  return kNames[static_cast<int32_t>(dtype)].safetensors;
}

std::optional<DType> dtype_from_short_name(std::string_view name) {
  return find(&Names::short_name, name);
}

std::optional<DType> dtype_from_safetensors_name(std::string_view name) {
  return find(&Names::safetensors, name);
}

std::string all_safetensors_names() {
  std::string all;
  for (const Names& names : kNames) {
    all.append(all.empty() ? "" : ", ").append(names.safetensors);
  }
  return all;
}

}  // namespace pagoda::tools
