// Keyword arguments from a table: one row per option of a call, filled into a plain struct.
#ifndef PAGODA_PYTHON_BINDINGS_ARGUMENTS_H_
#define PAGODA_PYTHON_BINDINGS_ARGUMENTS_H_

#include <array>
#include <cstddef>
#include <span>

#include "python.h"
#include "tensor_reader.h"

namespace pagoda::python {

// What a field of the target struct is.
enum class Kind {
  kTensor,       // TensorView, only read
  kOutput,       // TensorView, written
  kBool,         // bool
  kInt32,        // int32_t
  kInt64,        // int64_t
  kFloat,        // float
  kSplitPolicy,  // SplitPolicy: "balanced" or "fixed"
  kLseLayout,    // LseLayout: "heads_tokens" or "tokens_heads"
  kKvLayout,     // KvLayout: "hnd" or "nhd"
  kDevice,       // Device: "cpu", "cuda", "cuda:1", or what prints as one
  kDType,        // DType, by name or what prints as one; the field's own value = not given
  kObject,       // PyObject*, borrowed
};

struct Field {
  const char* name;
  Kind kind;
  size_t offset;
  bool required = false;
};

constexpr size_t kMaxFields = 64;
using InternedNames = std::array<PyObject*, kMaxFields>;

// The arguments of a Python function. None stands for an option that is not given, which leaves the
// target's field as it is.
struct Signature {
  const char* function;
  std::span<const Field> fields;
  int num_positional;  // the first ones may be given by position
  InternedNames* interned;
};

// Behind the positional ones may come a dict of more keywords: a caller that has one passes it on
// for half of what Python needs to spread it.
struct Arguments {
  PyObject* const* values;  // positional ones, then those of `names`
  Py_ssize_t num_positional;
  PyObject* names;  // tuple of the keywords, or null
};

// Fills `target`; false with a Python error set.
[[nodiscard]] bool read_arguments(const Signature& signature, const Arguments& arguments,
                                  TensorReader* tensors, void* target);

// ((name, kind, default, required), ...) of a table; `defaults` is a target as it is made.
Ref describe(std::span<const Field> fields, const void* defaults);

}  // namespace pagoda::python

#endif  // PAGODA_PYTHON_BINDINGS_ARGUMENTS_H_
