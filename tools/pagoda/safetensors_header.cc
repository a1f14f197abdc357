#include "safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "dtype_names.h"
#include "error.h"

namespace pagoda::tools {
namespace {

using nlohmann::json;
using Entry = SafetensorsFile::Entry;

constexpr const char* kMetadataKey = "__metadata__";

// JSON keeps the last of two equal keys in silence; here both would name a tensor.
json parse_without_duplicates(const std::string& text) {
  std::set<std::string> names;
  const json::parser_callback_t reject_duplicates = [&](int depth, json::parse_event_t event,
                                                        json& value) {
    if (event != json::parse_event_t::key || depth != 1) return true;
    const std::string name = value.get<std::string>();
    if (!names.insert(name).second) {
      throw BadInput(fmt::format("header: got tensor \"{}\" twice, wants it once", name));
    }
    return true;
  };
  try {
    return json::parse(text, reject_duplicates);
  } catch (const json::parse_error& error) {
    throw BadInput(fmt::format("header: got no JSON, wrong at byte {}", error.byte));
  }
}

const json& member(const json& object, const std::string& tensor, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) {
    throw BadInput(
        fmt::format("tensor \"{}\": got no {}, wants dtype, shape and data_offsets", tensor, key));
  }
  return *found;
}

DType parse_dtype(const json& value, const std::string& tensor) {
  if (value.is_string()) {
    if (const auto dtype = dtype_from_safetensors_name(value.get_ref<const std::string&>())) {
      return *dtype;
    }
  }
  throw BadInput(fmt::format("tensor \"{}\": dtype: got {}, wants one of {}", tensor, value.dump(),
                             all_safetensors_names()));
}

// Unsigned integers, `what` of the tensor.
std::vector<uint64_t> parse_integers(const json& value, const std::string& tensor,
                                     const char* what) {
  const auto is_unsigned = [](const json& x) { return x.is_number_unsigned(); };
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), is_unsigned)) {
    throw BadInput(fmt::format("tensor \"{}\": {}: got {}, wants a list of integers >= 0", tensor,
                               what, value.dump()));
  }
  return value.get<std::vector<uint64_t>>();
}

std::vector<int64_t> parse_shape(const json& value, const std::string& tensor) {
  const std::vector<uint64_t> extents = parse_integers(value, tensor, "shape");
  if (extents.size() > kMaxRank) {
    throw BadInput(fmt::format("tensor \"{}\": shape: got {} dimensions, wants at most {}", tensor,
                               extents.size(), kMaxRank));
  }
  std::vector<int64_t> shape;
  int64_t num_elements = 1;  // of the extents that are not 0, so that no product can overflow
  for (const uint64_t extent : extents) {
    constexpr int64_t kMax = std::numeric_limits<int64_t>::max() / 8;  // in bytes, at most
    if (extent > static_cast<uint64_t>(kMax / num_elements)) {
      throw BadInput(fmt::format("tensor \"{}\": shape: got {}, wants fewer than 2^60 elements",
                                 tensor, value.dump()));
    }
    shape.push_back(static_cast<int64_t>(extent));
    num_elements *= std::max<int64_t>(1, shape.back());
  }
  return shape;
}

Entry parse_entry(const json& value, const std::string& tensor, uint64_t data_bytes) {
  if (!value.is_object()) {
    throw BadInput(fmt::format("tensor \"{}\": got {}, wants an object", tensor, value.dump()));
  }
  Entry entry;
  entry.dtype = parse_dtype(member(value, tensor, "dtype"), tensor);
  entry.shape = parse_shape(member(value, tensor, "shape"), tensor);
  const json& offsets = member(value, tensor, "data_offsets");
  const std::vector<uint64_t> range = parse_integers(offsets, tensor, "data_offsets");
  if (range.size() != 2 || range[0] > range[1] || range[1] > data_bytes) {
    throw BadInput(
        fmt::format("tensor \"{}\": data_offsets: got {}, wants [begin, end] with begin <= end <= "
                    "{}, the bytes after the header",
                    tensor, offsets.dump(), data_bytes));
  }
  entry.begin = range[0];
  entry.end = range[1];
  uint64_t bytes = size_of(entry.dtype);
  for (const int64_t extent : entry.shape) bytes *= static_cast<uint64_t>(extent);
  if (bytes != entry.end - entry.begin) {
    throw BadInput(
        fmt::format("tensor \"{}\": data_offsets: got {} bytes, its shape and dtype "
                    "want {}",
                    tensor, entry.end - entry.begin, bytes));
  }
  return entry;
}

std::map<std::string, std::string> parse_metadata(const json& value) {
  const auto is_string = [](const json& x) { return x.is_string(); };
  if (!value.is_object() || !std::all_of(value.begin(), value.end(), is_string)) {
    throw BadInput(
        fmt::format("{}: got {}, wants an object of strings", kMetadataKey, value.dump()));
  }
  return value.get<std::map<std::string, std::string>>();
}

void check_tiling(const std::map<std::string, Entry>& entries, uint64_t data_bytes) {
  std::vector<std::pair<const Entry*, const std::string*>> in_order;
  for (const auto& [name, entry] : entries) in_order.emplace_back(&entry, &name);
  std::sort(in_order.begin(), in_order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first->begin, a.first->end) < std::pair(b.first->begin, b.first->end);
  });
  uint64_t filled = 0;
  for (const auto& [entry, name] : in_order) {
    if (entry->begin != filled) {
      throw BadInput(fmt::format(
          "tensor \"{}\": data_offsets: got begin {}, which {}, wants {}", *name, entry->begin,
          entry->begin < filled ? "overlaps the tensor before it" : "leaves a hole", filled));
    }
    filled = entry->end;
  }
  if (filled != data_bytes) {
    throw BadInput(fmt::format("data: got {} bytes after the header, the tensors want {}",
                               data_bytes, filled));
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(const std::string& text, uint64_t data_bytes) {
  const json document = parse_without_duplicates(text);
  if (!document.is_object()) throw BadInput("header: got no JSON object, wants one");
  SafetensorsHeader header;
  for (const auto& [name, value] : document.items()) {
    if (name == kMetadataKey) {
      header.metadata = parse_metadata(value);
    } else {
      header.entries[name] = parse_entry(value, name, data_bytes);
    }
  }
  check_tiling(header.entries, data_bytes);
  return header;
}

}  // namespace pagoda::tools
