#include "element_types.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>

namespace pagoda::python {

namespace {

struct OfDlpack {
  uint8_t code, bits;
  DType dtype;
};
constexpr OfDlpack kDlpackTypes[] = {
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

struct OfName {
  const char* name;
  DType dtype;
};
constexpr OfName kNames[] = {
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

// The first row of a type is the one that stands for it.
template <class Row, size_t kSize>
const Row& row_of(const Row (&rows)[kSize], DType dtype) {
  return *std::find_if(std::begin(rows), std::end(rows) - 1,
                       [&](const Row& row) { return row.dtype == dtype; });
}

}  // namespace

bool dtype_of(dlpack::DataType type, DType* dtype) {
  for (const OfDlpack& known : kDlpackTypes) {
    if (known.code != type.code || known.bits != type.bits || type.lanes != 1) continue;
    *dtype = known.dtype;
    return true;
  }
  return false;
}

dlpack::DataType dlpack_type_of(DType dtype) {
  const OfDlpack& known = row_of(kDlpackTypes, dtype);
  return {known.code, known.bits, 1};
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
  const std::string last = name.substr(name.rfind('.') + 1);  // torch.bfloat16
  for (const OfName& known : kNames) {
    if (last != known.name) continue;
    *dtype = known.dtype;
    return true;
  }
  return false;
}

const char* name_of(DType dtype) {
  return row_of(kNames, dtype).name;
}

}  // namespace pagoda::python
