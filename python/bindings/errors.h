// The library's Status as a Python exception, with the library's text.
#ifndef PAGODA_PYTHON_BINDINGS_ERRORS_H_
#define PAGODA_PYTHON_BINDINGS_ERRORS_H_

#include <exception>
#include <new>
#include <string>

#include "pagoda/status.h"
#include "python.h"

namespace pagoda::python {

inline PyObject* exception_of(StatusCode code) {
  switch (code) {
    case StatusCode::kUnsupported:
      return PyExc_NotImplementedError;
    case StatusCode::kDeviceError:
    case StatusCode::kInternal:
      return PyExc_RuntimeError;
    default:
      return PyExc_ValueError;
  }
}

// True if `status` is ok; else sets the exception.
[[nodiscard]] inline bool check(const char* function, const Status& status) {
  if (status.ok()) return true;
  const std::string text = std::string("pagoda.") + function + ": " + status.message();
  PyErr_SetString(exception_of(status.code()), text.c_str());
  return false;
}

// Runs a library call without the global interpreter lock and without letting an exception out.
template <class Call>
Status run_released(const Call& call) {
  try {
    const GilRelease released;
    return call();
  } catch (const std::bad_alloc&) {
    return {StatusCode::kInternal, "out of memory"};
  } catch (const std::exception& error) {
    return {StatusCode::kInternal, error.what()};
  }
}

// None, or null if `status` is an error.
inline PyObject* none_if_ok(const char* function, const Status& status) {
  if (!check(function, status)) return nullptr;
  Py_INCREF(Py_None);
  return Py_None;
}

}  // namespace pagoda::python

#endif  // PAGODA_PYTHON_BINDINGS_ERRORS_H_
