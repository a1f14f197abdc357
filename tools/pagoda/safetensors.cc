#include "safetensors.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "dtype_names.h"
#include "error.h"
#include "safetensors_header.h"

namespace pagoda::tools {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

uint64_t read_header_length(std::ifstream& stream, uint64_t file_bytes) {
  unsigned char bytes[kLengthBytes];
  if (file_bytes < kLengthBytes || !stream.read(reinterpret_cast<char*>(bytes), kLengthBytes)) {
    throw BadInput(
        fmt::format("got a file of {} bytes, wants at least the {} bytes that hold the "
                    "header's length",
                    file_bytes, kLengthBytes));
  }
  uint64_t length = 0;
  for (uint64_t i = 0; i < kLengthBytes; ++i) length |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  const uint64_t available = file_bytes - kLengthBytes;
  if (length > std::min(available, kMaxHeaderBytes)) {
    throw BadInput(
        fmt::format("header length: got {}, wants at most {} ({} bytes follow); the file "
                    "is truncated or no safetensors file",
                    length, std::min(available, kMaxHeaderBytes), available));
  }
  return length;
}

// A file beside `path`, to be renamed when it is whole: whoever reads `path` finds all of it or
// what was there before. Links and devices are written as they are.
std::filesystem::path path_to_write(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_type type = std::filesystem::symlink_status(path, error).type();
  const bool is_special =
      type != std::filesystem::file_type::not_found && type != std::filesystem::file_type::regular;
  return is_special ? path : fmt::format("{}.{}.unfinished", path, getpid());
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path)
    : path_(path), stream_(path, std::ios::binary) {
  std::error_code ignored;  // what cannot be asked about cannot be read either
  if (std::filesystem::is_directory(path, ignored)) {
    throw BadInput(fmt::format("{}: got a folder, wants a safetensors file", path));
  }
  stream_.seekg(0, std::ios::end);
  const std::streamoff file_bytes = stream_.tellg();
  if (!stream_ || file_bytes < 0) throw BadInput(fmt::format("{}: cannot be read", path));
  stream_.seekg(0);
  try {
    const auto total = static_cast<uint64_t>(file_bytes);
    std::string text(read_header_length(stream_, total), '\0');
    if (!stream_.read(text.data(), static_cast<std::streamsize>(text.size()))) {
      throw BadInput("header: cannot be read");
    }
    data_begin_ = kLengthBytes + text.size();
    SafetensorsHeader header = parse_safetensors_header(text, total - data_begin_);
    metadata_ = std::move(header.metadata);
    entries_ = std::move(header.entries);
  } catch (const BadInput& error) {
    throw BadInput(fmt::format("{}: {}", path, error.what()));
  }
}

OwnedTensor SafetensorsFile::load(const std::string& name) {
  const Entry& entry = entries_.at(name);
  OwnedTensor tensor = make_dense_tensor(entry.dtype, entry.shape);
  stream_.seekg(static_cast<std::streamoff>(data_begin_ + entry.begin));
  const auto bytes = static_cast<std::streamsize>(entry.end - entry.begin);
  if (!stream_.read(static_cast<char*>(tensor.memory.data()), bytes)) {
    throw BadInput(fmt::format("{}: tensor \"{}\" cannot be read", path_, name));
  }
  return tensor;
}

void write_safetensors(const std::string& path, std::vector<NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  // Wide elements first keeps every tensor aligned to its element.
  std::stable_sort(tensors.begin(), tensors.end(), [](const NamedTensor& a, const NamedTensor& b) {
    return size_of(a.view.dtype) > size_of(b.view.dtype);
  });
  nlohmann::ordered_json header;
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const NamedTensor& tensor : tensors) {
    const uint64_t end = offset + dense_bytes(tensor.view);
    header[tensor.name] = {
        {"dtype", safetensors_name(tensor.view.dtype)},
        {"shape", std::vector<int64_t>(tensor.view.shape, tensor.view.shape + tensor.view.rank)},
        {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + kLengthBytes - 1) / kLengthBytes * kLengthBytes, ' ');

  const std::filesystem::path unfinished = path_to_write(path);
  std::ofstream stream(unfinished, std::ios::binary);
  for (uint64_t i = 0; i < kLengthBytes; ++i) {
    stream.put(static_cast<char>(static_cast<uint64_t>(text.size()) >> (8 * i)));
  }
  stream.write(text.data(), static_cast<std::streamsize>(text.size()));
  for (const NamedTensor& tensor : tensors) {
    stream.write(static_cast<const char*>(tensor.view.data),
                 static_cast<std::streamsize>(dense_bytes(tensor.view)));
  }
  stream.close();
  std::error_code error;
  if (stream && unfinished != path) std::filesystem::rename(unfinished, path, error);
  if (stream && !error) return;
  if (unfinished != path) std::filesystem::remove(unfinished, error);
  throw BadInput(fmt::format("{}: cannot be written", path));
}

}  // namespace pagoda::tools
