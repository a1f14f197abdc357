#include "tensor_ways.h"

#include <array>

namespace pagoda::python {
namespace {

// The function table of a type, if it has one of our major version.
const dlpack::ExchangeApi* find_exchange_api(PyTypeObject* type) {
  Ref capsule(
      PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__"));
  void* pointer = capsule ? PyCapsule_GetPointer(capsule.get(), "dlpack_exchange_api") : nullptr;
  PyErr_Clear();
  auto* header = static_cast<dlpack::ExchangeHeader*>(pointer);
  while (header != nullptr && header->version.major > dlpack::kMajorVersion) {
    header = header->previous;
  }
  auto* api = reinterpret_cast<const dlpack::ExchangeApi*>(header);
  if (api == nullptr || header->version.major != dlpack::kMajorVersion) return nullptr;
  return api->tensor_from_object != nullptr ? api : nullptr;
}

TypeEntry classify(PyObject* object) {
  TypeEntry entry{Py_TYPE(object), Way::kNone, find_exchange_api(Py_TYPE(object))};
  if (entry.api != nullptr) {
    entry.way = Way::kExchange;
  } else if (PyObject_CheckBuffer(object)) {
    entry.way = Way::kBuffer;
  } else if (PyObject_HasAttrString(object, "__dlpack__")) {
    entry.way = Way::kDlpackMethod;
  }
  return entry;
}

}  // namespace

// Asked ten times a call, so answered from a small cache; the global interpreter lock guards it.
// It keeps its types alive, so that an address stands for one type.
const TypeEntry& entry_of(PyObject* object) {
  static std::array<TypeEntry, 16> cache{};
  static size_t next = 0;
  for (const TypeEntry& entry : cache) {
    if (entry.type == Py_TYPE(object)) return entry;
  }
  TypeEntry& entry = cache[next++ % cache.size()];
  Ref evicted(reinterpret_cast<PyObject*>(entry.type));
  entry = classify(object);
  Py_INCREF(reinterpret_cast<PyObject*>(entry.type));
  return entry;
}

}  // namespace pagoda::python
