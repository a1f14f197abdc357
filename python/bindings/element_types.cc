#include "element_types.h"

#include <cstring>

namespace pagoda::python {

bool dtype_of(dlpack::DataType type, DType* dtype) {
  struct Known {
    uint8_t code, bits;
    DType dtype;
  };
  static constexpr Known kKnown[] = {
      {dlpack::kBFloat, 16, DType::kBFloat16},
      {dlpack::kFloat, 16, DType::kFloat16},
      {dlpack::kFloat, 32, DType::kFloat32},
      {dlpack::kInt, 32, DType::kInt32},
      {dlpack::kInt, 64, DType::kInt64},
      {dlpack::kUInt, 8, DType::kUInt8},
      {dlpack::kBool, 8, DType::kUInt8},
      {dlpack::kInt, 8, DType::kInt8},
      {dlpack::kUInt, 16, kRawUInt16},
      {dlpack::kFloat8E4M3FN, 8, DType::kFloat8E4M3},
      {dlpack::kFloat8E5M2, 8, DType::kFloat8E5M2},
  };
  for (const Known& known : kKnown) {
    if (known.code != type.code || known.bits != type.bits || type.lanes != 1) continue;
    *dtype = known.dtype;
    return true;
  }
  return false;
}

bool dtype_of_format(const char* format, size_t item_bytes, DType* dtype) {
  if (format == nullptr) format = "B";
  if (*format == '@' || *format == '=' || *format == '<') ++format;
  if (format[0] == '\0' || format[1] != '\0') return false;
  uint8_t code;
  if (std::strchr("efd", *format) != nullptr) {
    code = dlpack::kFloat;
  } else if (std::strchr("bhilq", *format) != nullptr) {
    code = dlpack::kInt;
  } else if (std::strchr("BHILQ", *format) != nullptr) {
    code = dlpack::kUInt;
  } else if (*format == '?') {
    code = dlpack::kBool;
  } else {
    return false;
  }
  return dtype_of({code, static_cast<uint8_t>(8 * item_bytes), 1}, dtype);
}

bool dtype_of_name(const std::string& name, DType* dtype) {
  struct Known {
    const char* name;
    DType dtype;
  };
  static constexpr Known kKnown[] = {
      {"float32", DType::kFloat32},
      {"float16", DType::kFloat16},
      {"bfloat16", DType::kBFloat16},
      {"float8_e4m3", DType::kFloat8E4M3},
      {"float8_e4m3fn", DType::kFloat8E4M3},
      {"float8_e5m2", DType::kFloat8E5M2},
      {"int8", DType::kInt8},
      {"uint8", DType::kUInt8},
      {"int32", DType::kInt32},
      {"int64", DType::kInt64},
  };
  const std::string last = name.substr(name.rfind('.') + 1);  // torch.bfloat16
  for (const Known& known : kKnown) {
    if (last != known.name) continue;
    *dtype = known.dtype;
    return true;
  }
  return false;
}

}  // namespace pagoda::python
