#include "arguments.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "element_types.h"
#include "fields.h"
#include "pagoda/attention.h"
#include "pagoda/kv_cache.h"

namespace pagoda::python {
namespace {

bool fail(PyObject* kind, const char* name, const char* wants) {
  PyErr_Clear();
  PyErr_Format(kind, "%s: wants %s", name, wants);
  return false;
}

bool read_integer(PyObject* value, const Field& field, int64_t low, int64_t high, int64_t* out) {
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
  if (number == -1 && PyErr_Occurred() != nullptr) {
    return fail(PyExc_TypeError, field.name, "an int");
  }
  if (overflow != 0 || number < low || number > high) {
    return fail(PyExc_ValueError, field.name, "an int that fits its 32 or 64 bits");
  }
  *out = number;
  return true;
}

// The UTF-8 text of str(value), kept alive by `text`.
const char* text_of(PyObject* value, Ref* text) {
  *text = Ref(PyObject_Str(value));
  return *text ? PyUnicode_AsUTF8AndSize(text->get(), nullptr) : nullptr;
}

// One of two names, the first of which stands for 0.
bool read_choice(PyObject* value, const Field& field, const char* const (&names)[2], int* out) {
  Ref text;
  const char* given = text_of(value, &text);
  if (given == nullptr) return false;
  for (int i = 0; i < 2; ++i) {
    if (std::string(given) != names[i]) continue;
    *out = i;
    return true;
  }
  PyErr_Format(PyExc_ValueError, "%s: got '%s', wants '%s' or '%s'", field.name, given, names[0],
               names[1]);
  return false;
}

bool read_device(PyObject* value, const Field& field, Device* out) {
  Ref text;
  const char* given = text_of(value, &text);
  if (given == nullptr) return false;
  const std::string name = given;
  const size_t colon = name.find(':');
  const std::string type = name.substr(0, colon);
  const std::string index = colon == std::string::npos ? "0" : name.substr(colon + 1);
  const bool is_number = !index.empty() && index.size() < 6 &&
                         index.find_first_not_of("0123456789") == std::string::npos;
  if ((type != "cpu" && type != "cuda") || !is_number) {
    PyErr_Format(PyExc_ValueError, "%s: got '%s', wants 'cpu', 'cuda' or 'cuda:<index>'",
                 field.name, given);
    return false;
  }
  *out = {type == "cpu" ? DeviceType::kCpu : DeviceType::kCuda,
          type == "cpu" ? 0 : std::stoi(index)};
  return true;
}

bool read_dtype(PyObject* value, const Field& field, DType* out) {
  Ref text;
  const char* given = text_of(value, &text);
  if (given == nullptr) return false;
  if (dtype_of_name(given, out)) return true;
  PyErr_Format(PyExc_ValueError,
               "%s: got '%s', wants one of float32, float16, bfloat16, float8_e4m3, float8_e5m2 "
               "and int8",
               field.name, given);
  return false;
}

bool read_value(PyObject* value, const Field& field, TensorReader* tensors, void* target) {
  int64_t integer = 0;
  int choice = 0;
  switch (field.kind) {
    case Kind::kTensor:
      return tensors->read(value, field.name, Access::kRead, &field_of<TensorView>(target, field));
    case Kind::kOutput:
      return tensors->read(value, field.name, Access::kWrite, &field_of<TensorView>(target, field));
    case Kind::kBool: {
      const int truth = PyObject_IsTrue(value);
      field_of<bool>(target, field) = truth == 1;
      return truth >= 0;
    }
    case Kind::kInt32: {
      using Limits = std::numeric_limits<int32_t>;
      if (!read_integer(value, field, Limits::min(), Limits::max(), &integer)) return false;
      field_of<int32_t>(target, field) = static_cast<int32_t>(integer);
      return true;
    }
    case Kind::kInt64: {
      using Limits = std::numeric_limits<int64_t>;
      if (!read_integer(value, field, Limits::min(), Limits::max(), &integer)) return false;
      field_of<int64_t>(target, field) = integer;
      return true;
    }
    case Kind::kFloat: {
      const double number = PyFloat_AsDouble(value);
      field_of<float>(target, field) = static_cast<float>(number);
      if (number != -1.0 || PyErr_Occurred() == nullptr) return true;
      return fail(PyExc_TypeError, field.name, "a float");
    }
    case Kind::kSplitPolicy:
      if (!read_choice(value, field, kSplitPolicies, &choice)) return false;
      field_of<SplitPolicy>(target, field) = static_cast<SplitPolicy>(choice);
      return true;
    case Kind::kLseLayout:
      if (!read_choice(value, field, kLseLayouts, &choice)) return false;
      field_of<LseLayout>(target, field) = static_cast<LseLayout>(choice);
      return true;
    case Kind::kKvLayout:
      if (!read_choice(value, field, kKvLayouts, &choice)) return false;
      field_of<KvLayout>(target, field) = static_cast<KvLayout>(choice);
      return true;
    case Kind::kDevice:
      return read_device(value, field, &field_of<Device>(target, field));
    case Kind::kDType:
      return read_dtype(value, field, &field_of<DType>(target, field));
    case Kind::kObject:
      field_of<PyObject*>(target, field) = value;
      return true;
  }
  return false;
}

// The interned names of a table, made once: keywords in a program's text are the same objects.
std::span<PyObject* const> interned_names(const Signature& signature) {
  InternedNames& names = *signature.interned;
  if (names[0] == nullptr) {
    for (size_t i = 0; i < signature.fields.size(); ++i) {
      names[i] = PyUnicode_InternFromString(signature.fields[i].name);
    }
  }
  return {names.data(), signature.fields.size()};
}

// The field with that name; -1 with a Python error set if there is none. `expected` is tried first:
// callers tend to name options in the table's order.
int find_field(const Signature& signature, PyObject* name, size_t expected) {
  const std::span<PyObject* const> names = interned_names(signature);
  if (expected < names.size() && names[expected] == name) return static_cast<int>(expected);
  const auto same = std::find(names.begin(), names.end(), name);
  if (same != names.end()) return static_cast<int>(same - names.begin());
  const char* text = PyUnicode_AsUTF8AndSize(name, nullptr);
  if (text == nullptr) return -1;
  for (size_t i = 0; i < names.size(); ++i) {
    if (std::string_view(signature.fields[i].name) == text) return static_cast<int>(i);
  }
  PyErr_Format(PyExc_TypeError, "%s() has no argument '%s'", signature.function, text);
  return -1;
}

// The arguments of one call, taken one after the other.
struct Reading {
  const Signature& signature;
  TensorReader* tensors;
  void* target;
  uint64_t given = 0;  // bit i: field i
  int last = -1;       // the field that was taken last
  static_assert(kMaxFields <= 64);

  bool take(int at, PyObject* value) {
    const Field& field = signature.fields[at];
    last = at;
    if ((given >> at & 1) != 0) {
      PyErr_Format(PyExc_TypeError, "%s() got '%s' twice", signature.function, field.name);
      return false;
    }
    if (value == Py_None) return true;
    given |= uint64_t{1} << at;
    return read_value(value, field, tensors, target);
  }

  bool take_named(PyObject* name, PyObject* value) {
    const int at = find_field(signature, name, static_cast<size_t>(last + 1));
    return at >= 0 && take(at, value);
  }

  bool is_complete() const {
    for (size_t i = 0; i < signature.fields.size(); ++i) {
      if (!signature.fields[i].required || (given >> i & 1) != 0) continue;
      PyErr_Format(PyExc_TypeError, "%s() wants the argument '%s'", signature.function,
                   signature.fields[i].name);
      return false;
    }
    return true;
  }
};

}  // namespace

bool read_arguments(const Signature& signature, const Arguments& arguments, TensorReader* tensors,
                    void* target) {
  const Py_ssize_t num_positional =
      std::min<Py_ssize_t>(arguments.num_positional, signature.num_positional);
  const Py_ssize_t num_more = arguments.num_positional - num_positional;
  PyObject* more = num_more == 1 ? arguments.values[num_positional] : nullptr;
  if (num_more > 1 || (more != nullptr && PyDict_Check(more) == 0)) {
    PyErr_Format(PyExc_TypeError, "%s() takes %d positional arguments, got %zd", signature.function,
                 signature.num_positional, arguments.num_positional);
    return false;
  }
  Reading reading{signature, tensors, target};
  for (Py_ssize_t i = 0; i < num_positional; ++i) {
    if (!reading.take(static_cast<int>(i), arguments.values[i])) return false;
  }
  const Py_ssize_t num_names = arguments.names != nullptr ? PyTuple_Size(arguments.names) : 0;
  for (Py_ssize_t i = 0; i < num_names; ++i) {
    PyObject* value = arguments.values[arguments.num_positional + i];
    if (!reading.take_named(PyTuple_GetItem(arguments.names, i), value)) return false;
  }
  PyObject* name = nullptr;
  PyObject* value = nullptr;
  for (Py_ssize_t at = 0; more != nullptr && PyDict_Next(more, &at, &name, &value) != 0;) {
    if (!reading.take_named(name, value)) return false;
  }
  return reading.is_complete();
}

}  // namespace pagoda::python
