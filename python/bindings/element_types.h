// The library's element types, as DLPack, the buffer protocol and people write them.
#ifndef PAGODA_PYTHON_BINDINGS_ELEMENT_TYPES_H_
#define PAGODA_PYTHON_BINDINGS_ELEMENT_TYPES_H_

#include <cstddef>
#include <string>

#include "dlpack.h"
#include "pagoda/types.h"

namespace pagoda::python {

// uint16, which is no type of the library's: NumPy's stand-in for 16-bit floats, until an option
// such as kv_dtype says what it holds.
constexpr DType kRawUInt16 = static_cast<DType>(-1);

constexpr size_t element_bytes(DType dtype) {
  return dtype == kRawUInt16 ? 2 : size_of(dtype);
}

// False if the library has no such type.
bool dtype_of(dlpack::DataType type, DType* dtype);
// Of a type that the library has.
dlpack::DataType dlpack_type_of(DType dtype);
const char* name_of(DType dtype);
// PEP 3118: one native element; null stands for bytes.
bool dtype_of_format(const char* format, size_t item_bytes, DType* dtype);
// As NumPy, torch or Pagoda name it; "torch." may stand before.
bool dtype_of_name(const std::string& name, DType* dtype);

}  // namespace pagoda::python

#endif  // PAGODA_PYTHON_BINDINGS_ELEMENT_TYPES_H_
