#include "tensor_reader.h"

#include <algorithm>
#include <cstring>

#include "dlpack.h"
#include "element_types.h"
#include "tensor_ways.h"

namespace pagoda::python {
namespace {

constexpr char kVersionedCapsule[] = "dltensor_versioned";
constexpr char kPlainCapsule[] = "dltensor";

std::string type_name(PyObject* object) {
  Ref name(PyObject_GetAttrString(reinterpret_cast<PyObject*>(Py_TYPE(object)), "__name__"));
  const char* text = name ? PyUnicode_AsUTF8AndSize(name.get(), nullptr) : nullptr;
  if (text != nullptr) return text;
  PyErr_Clear();
  return "an object";
}

bool fail(PyObject* kind, const char* name, const std::string& message) {
  PyErr_SetString(kind, (std::string(name) + ": " + message).c_str());
  return false;
}

bool fail_dtype(const char* name, const std::string& got) {
  return fail(PyExc_TypeError, name,
              "got dtype " + got + ", which Pagoda has no use for; convert it");
}

bool fail_read_only(const char* name) {
  return fail(PyExc_ValueError, name, "got a read-only tensor, wants a writable one");
}

bool device_of(dlpack::Device device, Device* out) {
  switch (device.type) {
    case dlpack::kCpu:
    case dlpack::kCudaHost:
      *out = {DeviceType::kCpu, 0};
      return true;
    case dlpack::kCuda:
    case dlpack::kCudaManaged:
      *out = {DeviceType::kCuda, device.index};
      return true;
    default:
      return false;
  }
}

// A rank beyond the library's is kept for the library to refuse.
bool view_of(const dlpack::Tensor& tensor, const char* name, TensorView* view) {
  if (!dtype_of(tensor.dtype, &view->dtype)) {
    return fail_dtype(name, "(code " + std::to_string(tensor.dtype.code) + ", " +
                                std::to_string(tensor.dtype.bits) + " bits)");
  }
  if (!device_of(tensor.device, &view->device)) {
    return fail(PyExc_TypeError, name,
                "got a tensor on DLPack device type " + std::to_string(tensor.device.type) +
                    ", wants one on the CPU or on CUDA");
  }
  view->data = static_cast<char*>(tensor.data) + tensor.byte_offset;
  if (tensor.data == nullptr) view->data = nullptr;
  view->rank = tensor.rank;
  int64_t dense = 1;
  for (int i = std::min(tensor.rank, kMaxRank) - 1; i >= 0; --i) {
    view->shape[i] = tensor.shape[i];
    view->stride[i] = tensor.strides != nullptr ? tensor.strides[i] : dense;
    dense *= tensor.shape[i];
  }
  return true;
}

// Strides of buffers count bytes.
struct ByteStrided {
  void* data;
  int rank;
  const Py_ssize_t* shape;
  const Py_ssize_t* byte_strides;
};

bool view_of(const ByteStrided& array, const char* name, TensorView* view) {
  const auto bytes = static_cast<Py_ssize_t>(element_bytes(view->dtype));
  view->data = array.data;
  view->device = {};
  view->rank = array.rank;
  for (int i = 0; i < std::min(array.rank, kMaxRank); ++i) {
    if (array.byte_strides[i] % bytes != 0) {
      return fail(PyExc_ValueError, name,
                  "got a stride of " + std::to_string(array.byte_strides[i]) +
                      " bytes, wants whole elements");
    }
    view->shape[i] = array.shape[i];
    view->stride[i] = array.byte_strides[i] / bytes;
  }
  return true;
}

bool integers_of(PyObject* tuple, std::array<Py_ssize_t, kMaxRank>* values) {
  const Py_ssize_t count = std::min<Py_ssize_t>(PyTuple_Size(tuple), kMaxRank);
  for (Py_ssize_t i = 0; i < count; ++i) {
    (*values)[i] = PyLong_AsSsize_t(PyTuple_GetItem(tuple, i));
  }
  return PyErr_Occurred() == nullptr;
}

// NumPy arrays of ml_dtypes have no format in the buffer protocol; their dtype's name says it.
bool read_array_interface(PyObject* object, const char* name, Access access, TensorView* view) {
  Ref interface(PyObject_GetAttrString(object, "__array_interface__"));
  Ref dtype(interface ? PyObject_GetAttrString(object, "dtype") : nullptr);
  Ref dtype_name(dtype ? PyObject_GetAttrString(dtype.get(), "name") : nullptr);
  const char* text = dtype_name ? PyUnicode_AsUTF8AndSize(dtype_name.get(), nullptr) : nullptr;
  if (text == nullptr) return false;
  // ml_dtypes' float8_e4m3 has infinities and is another type than Pagoda's.
  if (std::strcmp(text, "float8_e4m3") == 0 || !dtype_of_name(text, &view->dtype)) {
    return fail_dtype(name, text);
  }
  PyObject* data = PyDict_GetItemString(interface.get(), "data");
  PyObject* shape = PyDict_GetItemString(interface.get(), "shape");
  PyObject* strides = PyDict_GetItemString(interface.get(), "strides");
  if (data == nullptr || shape == nullptr) return fail(PyExc_TypeError, name, "has no data");
  if (access == Access::kWrite && PyObject_IsTrue(PyTuple_GetItem(data, 1)) == 1) {
    return fail_read_only(name);
  }
  std::array<Py_ssize_t, kMaxRank> extents{}, byte_strides{};
  const auto rank = static_cast<int>(PyTuple_Size(shape));
  if (!integers_of(shape, &extents)) return false;
  if (strides != nullptr && strides != Py_None) {
    if (!integers_of(strides, &byte_strides)) return false;
  } else {
    Py_ssize_t dense = static_cast<Py_ssize_t>(size_of(view->dtype));
    for (int i = std::min(rank, kMaxRank) - 1; i >= 0; dense *= extents[i--]) {
      byte_strides[i] = dense;
    }
  }
  void* pointer = PyLong_AsVoidPtr(PyTuple_GetItem(data, 0));
  if (PyErr_Occurred() != nullptr) return false;
  return view_of({pointer, rank, extents.data(), byte_strides.data()}, name, view);
}

// Calls object.__dlpack__: without synchronisation on CUDA, where the caller's stream is used.
Ref call_dlpack(PyObject* object, bool on_cuda) {
  Ref method(PyObject_GetAttrString(object, "__dlpack__"));
  Ref no_arguments(PyTuple_New(0));
  if (!method || !no_arguments) return Ref();
  Ref keywords(on_cuda ? Py_BuildValue("{s:(ii),s:i}", "max_version", 1, 0, "stream", -1)
                       : Py_BuildValue("{s:(ii)}", "max_version", 1, 0));
  Ref capsule(PyObject_Call(method.get(), no_arguments.get(), keywords.get()));
  if (capsule || PyErr_ExceptionMatches(PyExc_TypeError) == 0) return capsule;
  PyErr_Clear();  // a producer of before DLPack 1.0 knows no max_version
  keywords = Ref(on_cuda ? Py_BuildValue("{s:i}", "stream", -1) : PyDict_New());
  return Ref(PyObject_Call(method.get(), no_arguments.get(), keywords.get()));
}

bool has_no_elements(const TensorView& view) {
  const int rank = std::min(view.rank, kMaxRank);
  return std::any_of(view.shape, view.shape + rank, [](int64_t extent) { return extent == 0; });
}

bool is_on_cuda(PyObject* object) {
  Ref method(PyObject_GetAttrString(object, "__dlpack_device__"));
  Ref pair(method ? PyObject_CallObject(method.get(), nullptr) : nullptr);
  PyObject* type = pair && PyTuple_Check(pair.get()) ? PyTuple_GetItem(pair.get(), 0) : nullptr;
  Ref number(type != nullptr ? PyNumber_Index(type) : nullptr);
  const long code = number ? PyLong_AsLong(number.get()) : 0;
  PyErr_Clear();
  return code == dlpack::kCuda || code == dlpack::kCudaManaged;
}

}  // namespace

TensorReader::~TensorReader() {
  for (int i = 0; i < num_buffers_; ++i) PyBuffer_Release(&buffers_[i]);
  for (int i = 0; i < num_capsules_; ++i) Py_DECREF(capsules_[i]);
}

bool TensorReader::read(PyObject* object, const char* name, Access access, TensorView* view) {
  const TypeEntry& entry = entry_of(object);
  bool done = false;
  if (entry.way == Way::kExchange) {
    dlpack::Tensor tensor;
    done = entry.api->tensor_from_object(object, &tensor) == 0 && view_of(tensor, name, view);
  } else if (entry.way == Way::kBuffer) {
    done = read_buffer(object, name, access, view);
  } else if (entry.way == Way::kDlpackMethod) {
    done = read_dlpack_method(object, name, access, view);
  } else {
    return fail(PyExc_TypeError, name,
                "got " + type_name(object) +
                    ", wants a tensor: an object with DLPack or the buffer protocol, such as one "
                    "of torch or NumPy");
  }
  // A tensor without elements may lie nowhere; to the library that would mean: not given.
  static char nothing;
  if (done && view->data == nullptr && has_no_elements(*view)) view->data = &nothing;
  if (done && view->device.type == DeviceType::kCuda && cuda_tensor_ == nullptr) {
    cuda_tensor_ = object;
    cuda_device_ = view->device;
  }
  return done;
}

bool TensorReader::read_buffer(PyObject* object, const char* name, Access access,
                               TensorView* view) {
  Py_buffer* buffer = &buffers_[num_buffers_];
  if (num_buffers_ == kMaxTensors) return fail(PyExc_ValueError, name, "is one tensor too many");
  if (PyObject_GetBuffer(object, buffer, PyBUF_STRIDES | PyBUF_FORMAT) != 0) {
    if (!PyObject_HasAttrString(object, "__array_interface__")) return false;
    PyErr_Clear();
    return read_array_interface(object, name, access, view);
  }
  ++num_buffers_;
  if (access == Access::kWrite && buffer->readonly) return fail_read_only(name);
  if (!dtype_of_format(buffer->format, static_cast<size_t>(buffer->itemsize), &view->dtype)) {
    return fail_dtype(name, buffer->format);
  }
  return view_of({buffer->buf, buffer->ndim, buffer->shape, buffer->strides}, name, view);
}

bool TensorReader::read_dlpack_method(PyObject* object, const char* name, Access access,
                                      TensorView* view) {
  if (num_capsules_ == kMaxTensors) return fail(PyExc_ValueError, name, "is one tensor too many");
  Ref capsule = call_dlpack(object, is_on_cuda(object));
  if (!capsule) return false;
  // The capsule keeps its name, so its own destructor gives the tensor back.
  PyObject* kept = capsules_[num_capsules_++] = capsule.release();
  if (PyCapsule_IsValid(kept, kVersionedCapsule)) {
    auto* managed =
        static_cast<dlpack::VersionedTensor*>(PyCapsule_GetPointer(kept, kVersionedCapsule));
    if (managed->version.major != dlpack::kMajorVersion) {
      return fail(PyExc_TypeError, name, "got a DLPack tensor of another major version");
    }
    const bool is_read_only = (managed->flags & dlpack::kReadOnly) != 0;
    if (access == Access::kWrite && is_read_only) return fail_read_only(name);
    return view_of(managed->tensor, name, view);
  }
  auto* managed = static_cast<dlpack::ManagedTensor*>(PyCapsule_GetPointer(kept, kPlainCapsule));
  return managed != nullptr && view_of(managed->tensor, name, view);
}

bool TensorReader::current_stream(void** stream) const {
  *stream = nullptr;
  if (cuda_tensor_ == nullptr) return true;
  const TypeEntry& entry = entry_of(cuda_tensor_);
  if (entry.way == Way::kExchange && entry.api->current_stream != nullptr) {
    return entry.api->current_stream(dlpack::kCuda, cuda_device_.index, stream) == 0;
  }
  Ref frameworks(PyImport_ImportModule("pagoda._frameworks"));
  Ref number(frameworks ? PyObject_CallMethod(frameworks.get(), "current_stream", "Oi",
                                              cuda_tensor_, cuda_device_.index)
                        : nullptr);
  if (!number) return false;
  *stream = PyLong_AsVoidPtr(number.get());
  return PyErr_Occurred() == nullptr;
}

}  // namespace pagoda::python
