#include "geometry.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <charconv>
#include <nlohmann/json.hpp>

#include "dtype_names.h"

namespace pagoda::tools {
namespace {

constexpr int32_t kMaxHeads = 1 << 16;

bool parse_head_count(std::string_view text, int32_t* value) {
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && stop == text.data() + text.size() && *value >= 1 &&
         *value <= kMaxHeads;
}

void parse_heads(const std::string& text, Geometry* geometry) {
  const size_t slash = text.find('/');
  const bool parsed =
      slash != std::string::npos &&
      parse_head_count(std::string_view(text).substr(0, slash), &geometry->num_q_heads) &&
      parse_head_count(std::string_view(text).substr(slash + 1), &geometry->num_kv_heads);
  if (!parsed || geometry->num_q_heads % geometry->num_kv_heads != 0) {
    throw CLI::ValidationError(
        "--heads", fmt::format("got {}, wants QUERY/KV, at most {} and the first a multiple of "
                               "the second, as in 32/8",
                               text, kMaxHeads));
  }
}

DType parse_dtype(const std::string& option, const std::string& text,
                  std::initializer_list<DType> allowed) {
  std::string names;
  for (const DType dtype : allowed) {
    if (short_name(dtype) == text) return dtype;
    names.append(names.empty() ? "" : ", ").append(short_name(dtype));
  }
  throw CLI::ValidationError(option, fmt::format("got {}, wants one of {}", text, names));
}

std::string_view layout_name(KvLayout layout) {
  return layout == KvLayout::kNhd ? "nhd" : "hnd";
}

void add_type_options(CLI::App* command, Geometry* geometry) {
  command
      ->add_option_function<std::string>(
          "--dtype",
          [geometry](const std::string& text) {
            geometry->q_dtype = parse_dtype(
                "--dtype", text,
                {DType::kBFloat16, DType::kFloat16, DType::kFloat32, DType::kFloat8E4M3});
          },
          "Type of q: bf16, f16, f32, e4m3 (its output is bf16)")
      ->option_text("TYPE=bf16");
  command
      ->add_option_function<std::string>(
          "--kv-dtype",
          [geometry](const std::string& text) {
            geometry->kv_dtype_option =
                parse_dtype("--kv-dtype", text,
                            {DType::kBFloat16, DType::kFloat16, DType::kFloat32, DType::kFloat8E4M3,
                             DType::kFloat8E5M2, DType::kInt8});
          },
          "Type of K and V: that of q, e4m3, e5m2 or int8 (a scale per token and head)")
      ->option_text("TYPE=that of q");
}

}  // namespace

void add_geometry_options(CLI::App* command, Geometry* geometry) {
  command
      ->add_option_function<std::string>(
          "--heads", [geometry](const std::string& text) { parse_heads(text, geometry); },
          "Query heads / KV heads")
      ->option_text("Q/KV=32/8");
  command->add_option("--head-dim", geometry->head_dim, "Elements of a head")
      ->check(CLI::Range(8, 256))
      ->option_text("N=128");
  command->add_option("--page-size", geometry->page_size, "Tokens of a page")
      ->check(CLI::Range(1, 1 << 16))
      ->option_text("N=16");
  add_type_options(command, geometry);
  command
      ->add_option_function<std::string>(
          "--layout",
          [geometry](const std::string& text) {
            if (text != "nhd" && text != "hnd") {
              throw CLI::ValidationError("--layout", fmt::format("got {}, wants nhd or hnd", text));
            }
            geometry->layout = text == "nhd" ? KvLayout::kNhd : KvLayout::kHnd;
          },
          "Pages token-major (nhd) or head-major (hnd)")
      ->option_text("LAYOUT=nhd");
  command
      ->add_option("--window-left", geometry->window_left,
                   "Keys before its own that a query sees; -1 = all")
      ->check(CLI::Range(-1, 1 << 30))
      ->option_text("N=-1");
}

std::string describe(const Geometry& geometry) {
  return fmt::format(
      "{}/{} heads, head_dim {}, q {}, KV {}, page {} {}{}", geometry.num_q_heads,
      geometry.num_kv_heads, geometry.head_dim, short_name(geometry.q_dtype),
      short_name(geometry.kv_dtype()), geometry.page_size, layout_name(geometry.layout),
      geometry.window_left >= 0 ? fmt::format(", window_left {}", geometry.window_left) : "");
}

Json to_json(const Geometry& geometry) {
  return {{"num_q_heads", geometry.num_q_heads},     {"num_kv_heads", geometry.num_kv_heads},
          {"head_dim", geometry.head_dim},           {"page_size", geometry.page_size},
          {"q_dtype", short_name(geometry.q_dtype)}, {"kv_dtype", short_name(geometry.kv_dtype())},
          {"layout", layout_name(geometry.layout)},  {"window_left", geometry.window_left}};
}

}  // namespace pagoda::tools
