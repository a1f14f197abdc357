// The JSON header of a safetensors file.
#ifndef PAGODA_TOOLS_PAGODA_SAFETENSORS_HEADER_H_
#define PAGODA_TOOLS_PAGODA_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <map>
#include <string>

#include "safetensors.h"

namespace pagoda::tools {

struct SafetensorsHeader {
  std::map<std::string, std::string> metadata;
  std::map<std::string, SafetensorsFile::Entry> entries;
};

// Checks that the entries fill `data_bytes` without overlaps and holes. Throws BadInput.
SafetensorsHeader parse_safetensors_header(const std::string& text, uint64_t data_bytes);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_SAFETENSORS_HEADER_H_
