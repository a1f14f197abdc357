// A field of a target struct by its row, and the words for values of enums.
#ifndef PAGODA_PYTHON_BINDINGS_FIELDS_H_
#define PAGODA_PYTHON_BINDINGS_FIELDS_H_

#include "arguments.h"

namespace pagoda::python {

template <class T>
T& field_of(void* target, const Field& field) {
  return *reinterpret_cast<T*>(static_cast<char*>(target) + field.offset);
}

template <class T>
const T& field_of(const void* target, const Field& field) {
  return *reinterpret_cast<const T*>(static_cast<const char*>(target) + field.offset);
}

// By value of the enum.
inline constexpr const char* kSplitPolicies[2] = {"balanced", "fixed"};
inline constexpr const char* kLseLayouts[2] = {"heads_tokens", "tokens_heads"};
inline constexpr const char* kKvLayouts[2] = {"hnd", "nhd"};

}  // namespace pagoda::python

#endif  // PAGODA_PYTHON_BINDINGS_FIELDS_H_
