// Names of element types: on the command line, and in safetensors files.
#ifndef PAGODA_TOOLS_PAGODA_DTYPE_NAMES_H_
#define PAGODA_TOOLS_PAGODA_DTYPE_NAMES_H_

#include <optional>
#include <string>
#include <string_view>

#include "pagoda/types.h"

namespace pagoda::tools {

std::string_view short_name(DType dtype);        // "bf16"
std::string_view safetensors_name(DType dtype);  // "BF16"

std::optional<DType> dtype_from_short_name(std::string_view name);
std::optional<DType> dtype_from_safetensors_name(std::string_view name);

// "F32, F16, ..."
std::string all_safetensors_names();

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_DTYPE_NAMES_H_
