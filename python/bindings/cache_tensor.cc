#include "cache_tensor.h"

#include <algorithm>
#include <string>
#include <utility>

#include "dlpack.h"
#include "element_types.h"

namespace pagoda::python {
namespace {

struct Shared {
  std::shared_ptr<const HostKvCache> cache;
  TensorView view;
};

struct CacheTensorObject {
  PyObject_HEAD;
  Shared* shared;
};

PyTypeObject* cache_tensor_type = nullptr;

const Shared& shared_of(PyObject* self) {
  return *reinterpret_cast<CacheTensorObject*>(self)->shared;
}

void deallocate(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  delete reinterpret_cast<CacheTensorObject*>(self)->shared;
  auto* release = reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free));
  release(self);
  Py_DECREF(type);
}

// What a consumer of DLPack holds: it keeps the cache's memory, not the Python object.
template <class Managed>
struct Export {
  static void destroy(Managed* managed) { delete static_cast<Export*>(managed->context); }

  explicit Export(Shared from) : shared(std::move(from)) {
    TensorView& view = shared.view;
    managed.context = this;
    managed.deleter = destroy;
    managed.tensor = {.data = view.data,
                      .device = {dlpack::kCpu, 0},
                      .rank = view.rank,
                      .dtype = dlpack_type_of(view.dtype),
                      .shape = view.shape,
                      .strides = view.stride,
                      .byte_offset = 0};
  }

  Managed managed{};
  Shared shared;
};

constexpr char kVersionedCapsule[] = "dltensor_versioned";
constexpr char kPlainCapsule[] = "dltensor";

// A consumer renames the capsule when it takes the tensor over.
template <class Managed>
void destroy_capsule(PyObject* capsule, const char* name) {
  if (PyCapsule_IsValid(capsule, name) == 0) return;
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, name));
  managed->deleter(managed);
}

PyObject* new_versioned_capsule(const Shared& shared) {
  auto* exported = new Export<dlpack::VersionedTensor>(shared);
  exported->managed.version = {dlpack::kMajorVersion, 0};
  PyObject* capsule = PyCapsule_New(&exported->managed, kVersionedCapsule, [](PyObject* unused) {
    destroy_capsule<dlpack::VersionedTensor>(unused, kVersionedCapsule);
  });
  if (capsule == nullptr) delete exported;
  return capsule;
}

PyObject* new_plain_capsule(const Shared& shared) {
  auto* exported = new Export<dlpack::ManagedTensor>(shared);
  PyObject* capsule = PyCapsule_New(&exported->managed, kPlainCapsule, [](PyObject* unused) {
    destroy_capsule<dlpack::ManagedTensor>(unused, kPlainCapsule);
  });
  if (capsule == nullptr) delete exported;
  return capsule;
}

// Whether `device`, None or a pair, stands for host memory; -1 with a Python error set.
int is_host(PyObject* device) {
  if (device == nullptr || device == Py_None) return 1;
  int type = 0, index = 0;
  if (PyArg_ParseTuple(device, "ii", &type, &index) == 0) return -1;
  return type == dlpack::kCpu ? 1 : 0;
}

PyObject* py_dlpack(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"stream", "max_version", "dl_device", "copy", nullptr};
  PyObject *stream = nullptr, *max_version = nullptr, *device = nullptr, *copy = nullptr;
  if (PyArg_ParseTupleAndKeywords(arguments, keywords, "|$OOOO:__dlpack__",
                                  const_cast<char**>(names), &stream, &max_version, &device,
                                  &copy) == 0) {
    return nullptr;
  }
  const int host = is_host(device);
  if (host < 0) return nullptr;
  if (host == 0 || copy == Py_True) {
    PyErr_SetString(PyExc_BufferError,
                    "pagoda.CacheTensor lies in host memory and is lent, not copied");
    return nullptr;
  }
  unsigned major = 0, minor = 0;
  if (max_version != nullptr && max_version != Py_None &&
      PyArg_ParseTuple(max_version, "II", &major, &minor) == 0) {
    return nullptr;
  }
  const Shared& shared = shared_of(self);
  return major >= dlpack::kMajorVersion ? new_versioned_capsule(shared) : new_plain_capsule(shared);
}

PyObject* py_dlpack_device(PyObject*, PyObject*) {
  return Py_BuildValue("(ii)", dlpack::kCpu, 0);
}

// A tuple of the view's extents, or of its strides, times `unit`.
Ref tuple_of(const int64_t* values, int32_t count, int64_t unit) {
  Ref tuple(PyTuple_New(count));
  for (int32_t i = 0; tuple && i < count; ++i) {
    PyObject* number = PyLong_FromLongLong(values[i] * unit);
    if (number == nullptr || PyTuple_SetItem(tuple.get(), i, number) != 0) return Ref();
  }
  return tuple;
}

PyObject* get_shape(PyObject* self, void*) {
  const TensorView& view = shared_of(self).view;
  return tuple_of(view.shape, view.rank, 1).release();
}

PyObject* get_dtype(PyObject* self, void*) {
  return PyUnicode_FromString(name_of(shared_of(self).view.dtype));
}

// NumPy has no type for bf16 and fp8: it sees unsigned integers of the same size.
std::string numpy_type_of(DType dtype) {
  const dlpack::DataType type = dlpack_type_of(dtype);
  const char kind = type.code == dlpack::kFloat ? 'f' : type.code == dlpack::kInt ? 'i' : 'u';
  return (type.bits == 8 ? "|" : "<") + std::string(1, kind) + std::to_string(type.bits / 8);
}

PyObject* get_array_interface(PyObject* self, void*) {
  const TensorView& view = shared_of(self).view;
  Ref shape = tuple_of(view.shape, view.rank, 1);
  Ref strides = tuple_of(view.stride, view.rank, static_cast<int64_t>(size_of(view.dtype)));
  Ref address(PyLong_FromVoidPtr(view.data));
  if (!shape || !strides || !address) return nullptr;
  return Py_BuildValue("{s:i,s:s,s:O,s:O,s:(OO)}", "version", 3, "typestr",
                       numpy_type_of(view.dtype).c_str(), "shape", shape.get(), "strides",
                       strides.get(), "data", address.get(), Py_False);
}

constexpr char kDoc[] =
    "One tensor of a KV cache that pagoda.make_kv_cache() made. Pagoda's calls take it as it is;\n"
    "torch.from_dlpack() and numpy.asarray() make tensors of the same memory, which lives as long\n"
    "as any of them. NumPy sees bfloat16 as uint16 and fp8 as uint8.";

}  // namespace

bool add_cache_tensor_type(PyObject* module) {
  static PyMethodDef methods[] = {
      {"__dlpack__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(py_dlpack)),
       METH_VARARGS | METH_KEYWORDS, "A capsule of the tensor, as DLPack specifies it."},
      {"__dlpack_device__", py_dlpack_device, METH_NOARGS, "The host, as DLPack numbers it."},
      {}};
  static PyGetSetDef attributes[] = {
      {"shape", get_shape, nullptr, "[num_pages, page_size, num_kv_heads(, head_dim)]", nullptr},
      {"dtype", get_dtype, nullptr, "The element type's name.", nullptr},
      {"__array_interface__", get_array_interface, nullptr, "NumPy's view of it.", nullptr},
      {}};
  PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(deallocate)},
                         {Py_tp_methods, methods},
                         {Py_tp_getset, attributes},
                         {Py_tp_doc, const_cast<char*>(kDoc)},
                         {0, nullptr}};
  PyType_Spec spec = {"pagoda.CacheTensor", sizeof(CacheTensorObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  cache_tensor_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return cache_tensor_type != nullptr &&
         PyModule_AddObjectRef(module, "CacheTensor",
                               reinterpret_cast<PyObject*>(cache_tensor_type)) == 0;
}

Ref new_cache_tensor(const std::shared_ptr<const HostKvCache>& cache, const TensorView& view) {
  auto* allocate = reinterpret_cast<allocfunc>(PyType_GetSlot(cache_tensor_type, Py_tp_alloc));
  Ref self(allocate(cache_tensor_type, 0));
  if (self) reinterpret_cast<CacheTensorObject*>(self.get())->shared = new Shared{cache, view};
  return self;
}

}  // namespace pagoda::python
