// What argument checks are made of: one rule per tensor, and texts built from the checked values.
#ifndef PAGODA_CORE_CHECKS_H_
#define PAGODA_CORE_CHECKS_H_

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <sstream>
#include <string>

#include "pagoda/status.h"
#include "pagoda/types.h"

#define PAGODA_RETURN_IF_ERROR(expression) \
  if (::pagoda::Status status_ = (expression); !status_.ok()) return status_

namespace pagoda {

constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();
// More than any model has, few enough that rows and bytes of a work item are counted in 32 bits.
constexpr int64_t kMaxHeads = 1 << 16;

class DTypeSet {
 public:
  constexpr DTypeSet(std::initializer_list<DType> dtypes) {
    for (DType dtype : dtypes) bits_ |= bit(dtype);
  }
  constexpr bool contains(DType dtype) const { return (bits_ & bit(dtype)) != 0; }
  friend constexpr DTypeSet operator|(DTypeSet a, DTypeSet b) {
    a.bits_ |= b.bits_;
    return a;
  }

 private:
  static constexpr uint32_t bit(DType dtype) {
    const auto value = static_cast<uint32_t>(dtype);
    return value < 32 ? 1u << value : 0;
  }
  uint32_t bits_ = 0;
};

constexpr DTypeSet kIntegers{DType::kUInt8, DType::kInt32, DType::kInt64};
constexpr DTypeSet kWideFloats{DType::kFloat32, DType::kFloat16, DType::kBFloat16};
constexpr DTypeSet kFp8{DType::kFloat8E4M3, DType::kFloat8E5M2};
constexpr DTypeSet kQuantised = kFp8 | DTypeSet{DType::kInt8};
constexpr DTypeSet kPages = kWideFloats | kQuantised;  // what a KV cache may hold
constexpr DTypeSet kAllDTypes = kWideFloats | kQuantised | kIntegers;

// One extent of a tensor: of the given size, or of any.
struct Extent {
  static constexpr int64_t kAny = -1;

  const char* name;
  int64_t size = kAny;
};

enum class StrideRule {
  kFree,
  kDenseRows,    // last stride 1
  kAlignedRows,  // and on CUDA rows are 16-byte aligned
  kContiguous,
};

// What a tensor has to be. Strides of extents below 2 are free: nothing is addressed by them.
struct TensorRule {
  const char* name;
  DTypeSet dtypes;
  std::initializer_list<Extent> shape;
  StrideRule strides = StrideRule::kFree;
  bool is_written = false;        // its elements must not overlap
  bool data_may_be_null = false;  // although it has elements
};

// Where a call's tensors have to be, and what says so.
struct Place {
  Device device;
  const char* decided_by;
};

Status check_tensor(const TensorView& view, const TensorRule& rule, const Place& place);
Status check_device(const char* name, Device device);
Status check_between(const char* name, int64_t got, int64_t low, int64_t high);
Status check_at_least(const char* name, int64_t got, int64_t low);
Status check_dtype(const char* name, DType got, DTypeSet wanted);

std::string dtype_name(DType dtype);
std::string dtype_names(DTypeSet dtypes);  // "float32, float16 or bfloat16"
std::string device_name(Device device);
std::string shape_text(const TensorView& view);
bool has_elements(const TensorView& view);

// A tensor by its name.
struct NamedTensor {
  const char* name;
  const TensorView& view;
};

// That what a call writes lies nowhere where another of its tensors does, as far as first elements
// tell: views of one buffer may interleave.
Status check_apart(const NamedTensor& written, std::initializer_list<NamedTensor> others);

// All failures, one line each, under the first one's code.
Status join_failures(std::initializer_list<Status> results);

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream stream;
  (stream << ... << parts);
  return stream.str();
}

template <class... Parts>
Status invalid_argument(const Parts&... parts) {
  return {StatusCode::kInvalidArgument, text(parts...)};
}

template <class... Parts>
Status invalid_contents(const Parts&... parts) {
  return {StatusCode::kInvalidContents, text(parts...)};
}

}  // namespace pagoda

#endif  // PAGODA_CORE_CHECKS_H_
