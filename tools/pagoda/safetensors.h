// Files in the safetensors format: 8 bytes with the length of a JSON header, little-endian; the
// header, which names each tensor's dtype, shape and place; the tensors' bytes without holes.
// A file is untrusted input: everything that the header says is checked before it is used.
#ifndef PAGODA_TOOLS_PAGODA_SAFETENSORS_H_
#define PAGODA_TOOLS_PAGODA_SAFETENSORS_H_

#include <cstdint>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "owned_tensor.h"
#include "pagoda/types.h"

namespace pagoda::tools {

class SafetensorsFile {
 public:
  struct Entry {
    DType dtype = DType::kFloat32;
    std::vector<int64_t> shape;
    uint64_t begin = 0;  // bytes from the end of the header
    uint64_t end = 0;
  };

  // Throws BadInput if `path` is no well-formed file.
  explicit SafetensorsFile(const std::string& path);

  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::map<std::string, Entry>& entries() const { return entries_; }

  // Reads one tensor of entries() into memory of its own.
  OwnedTensor load(const std::string& name);

 private:
  std::string path_;
  std::ifstream stream_;
  uint64_t data_begin_ = 0;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, Entry> entries_;
};

struct NamedTensor {
  std::string name;
  TensorView view;  // dense
};

void write_safetensors(const std::string& path, std::vector<NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_SAFETENSORS_H_
