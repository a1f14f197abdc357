// The tables of options as Python sees them.
#include <cstdint>

#include "fields.h"
#include "pagoda/attention.h"
#include "pagoda/kv_cache.h"

namespace pagoda::python {
namespace {

const char* kind_name(Kind kind) {
  switch (kind) {
    case Kind::kTensor:
      return "tensor";
    case Kind::kOutput:
      return "output";
    case Kind::kBool:
      return "bool";
    case Kind::kInt32:
    case Kind::kInt64:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kSplitPolicy:
    case Kind::kLseLayout:
    case Kind::kKvLayout:
      return "str";
    case Kind::kDType:
      return "dtype";
    case Kind::kDevice:
    case Kind::kObject:
      return "object";
  }
  return "";
}

PyObject* default_of(const Field& field, const void* defaults) {
  switch (field.kind) {
    case Kind::kBool:
      return PyBool_FromLong(field_of<bool>(defaults, field));
    case Kind::kInt32:
      return PyLong_FromLong(field_of<int32_t>(defaults, field));
    case Kind::kInt64:
      return PyLong_FromLongLong(field_of<int64_t>(defaults, field));
    case Kind::kFloat:
      return PyFloat_FromDouble(static_cast<double>(field_of<float>(defaults, field)));
    case Kind::kSplitPolicy:
      return PyUnicode_FromString(
          kSplitPolicies[static_cast<int>(field_of<SplitPolicy>(defaults, field))]);
    case Kind::kLseLayout:
      return PyUnicode_FromString(
          kLseLayouts[static_cast<int>(field_of<LseLayout>(defaults, field))]);
    case Kind::kKvLayout:
      return PyUnicode_FromString(
          kKvLayouts[static_cast<int>(field_of<KvLayout>(defaults, field))]);
    default:
      Py_INCREF(Py_None);
      return Py_None;
  }
}

}  // namespace

Ref describe(std::span<const Field> fields, const void* defaults) {
  Ref list(PyTuple_New(static_cast<Py_ssize_t>(fields.size())));
  if (!list) return list;
  for (size_t i = 0; i < fields.size(); ++i) {
    Ref value(default_of(fields[i], defaults));
    PyObject* row = value ? Py_BuildValue("(ssOO)", fields[i].name, kind_name(fields[i].kind),
                                          value.get(), fields[i].required ? Py_True : Py_False)
                          : nullptr;
    if (row == nullptr) return Ref();
    PyTuple_SetItem(list.get(), static_cast<Py_ssize_t>(i), row);  // takes `row`
  }
  return list;
}

}  // namespace pagoda::python
