// The binary interface of DLPack 1.x, as far as Pagoda uses it: tensors, and the table of functions
// by which a framework exchanges them without Python calls. Written from the specification; layouts
// are checked below, since both sides must agree on every byte.
#ifndef PAGODA_PYTHON_BINDINGS_DLPACK_H_
#define PAGODA_PYTHON_BINDINGS_DLPACK_H_

#include <cstddef>
#include <cstdint>

namespace pagoda::python::dlpack {

constexpr uint32_t kMajorVersion = 1;

enum DeviceType : int32_t { kCpu = 1, kCuda = 2, kCudaHost = 3, kCudaManaged = 13 };

enum TypeCode : uint8_t {
  kInt = 0,
  kUInt = 1,
  kFloat = 2,
  kBFloat = 4,
  kBool = 6,
  kFloat8E4M3FN = 10,
  kFloat8E5M2 = 12,
};

struct Device {
  int32_t type;
  int32_t index;
};

struct DataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  int32_t rank;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; null = row-major
  uint64_t byte_offset;
};

struct Version {
  uint32_t major;
  uint32_t minor;
};

// Of capsules named "dltensor".
struct ManagedTensor {
  Tensor tensor;
  void* context;
  void (*deleter)(ManagedTensor*);
};

constexpr uint64_t kReadOnly = 1;

// Of capsules named "dltensor_versioned".
struct VersionedTensor {
  Version version;
  void* context;
  void (*deleter)(VersionedTensor*);
  uint64_t flags;
  Tensor tensor;
};

struct ExchangeHeader {
  Version version;
  ExchangeHeader* previous;  // the table of an older major version, or null
};

// The capsule "dlpack_exchange_api" at a type's __dlpack_c_exchange_api__. It lives as long as the
// process. Functions return 0, or -1 with a Python error set.
struct ExchangeApi {
  ExchangeHeader header;
  void* allocate;
  void* managed_from_object;
  void* object_from_managed;
  int (*tensor_from_object)(void* object, Tensor* borrowed);  // may be null
  int (*current_stream)(int32_t device_type, int32_t device_index, void** stream);
};

static_assert(sizeof(Tensor) == 48 && offsetof(Tensor, shape) == 24);
static_assert(sizeof(VersionedTensor) == 80 && offsetof(VersionedTensor, tensor) == 32);
static_assert(sizeof(ExchangeApi) == 56 && offsetof(ExchangeApi, tensor_from_object) == 40);

}  // namespace pagoda::python::dlpack

#endif  // PAGODA_PYTHON_BINDINGS_DLPACK_H_
