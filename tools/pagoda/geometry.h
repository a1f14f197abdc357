// The part of a problem that a model fixes: heads, types, pages. Shared options of the benchmarks.
#ifndef PAGODA_TOOLS_PAGODA_GEOMETRY_H_
#define PAGODA_TOOLS_PAGODA_GEOMETRY_H_

#include <cstdint>
#include <optional>
#include <string>

#include "json_output.h"
#include "pagoda/kv_cache.h"
#include "pagoda/types.h"

namespace CLI {
class App;
}  // namespace CLI

namespace pagoda::tools {

// The defaults are those of an 8-billion-parameter Llama 3.
struct Geometry {
  int32_t num_q_heads = 32;
  int32_t num_kv_heads = 8;
  int32_t head_dim = 128;
  int32_t page_size = 16;
  DType q_dtype = DType::kBFloat16;
  std::optional<DType> kv_dtype_option;  // absent = q_dtype
  KvLayout layout = KvLayout::kNhd;
  int32_t window_left = -1;

  DType kv_dtype() const { return kv_dtype_option.value_or(q_dtype); }
  DType out_dtype() const { return q_dtype == DType::kFloat8E4M3 ? DType::kBFloat16 : q_dtype; }
  int64_t kv_bytes_per_token() const {
    return int64_t{2} * num_kv_heads * head_dim * static_cast<int64_t>(size_of(kv_dtype()));
  }
  int32_t num_pages(int64_t tokens) const {
    return static_cast<int32_t>((tokens + page_size - 1) / page_size);
  }
};

void add_geometry_options(CLI::App* command, Geometry* geometry);

// "32/8 heads, head_dim 128, ..."
std::string describe(const Geometry& geometry);
Json to_json(const Geometry& geometry);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_GEOMETRY_H_
