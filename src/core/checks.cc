#include "core/checks.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

namespace pagoda {
namespace {

constexpr DType kDTypesInOrder[] = {
    DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kFloat8E4M3, DType::kFloat8E5M2,
    DType::kInt8,    DType::kUInt8,   DType::kInt32,    DType::kInt64,
};
constexpr int64_t kRowAlignBytes = 16;               // CUDA: the unit of its copy instructions
constexpr int64_t kMaxSpanBytes = int64_t{1} << 60;  // far beyond any address space

bool is_single(DTypeSet dtypes) {
  return std::count_if(std::begin(kDTypesInOrder), std::end(kDTypesInOrder),
                       [&](DType dtype) { return dtypes.contains(dtype); }) == 1;
}

// "int32 [num_seqs=3, max_pages]"
std::string wanted(const TensorRule& rule) {
  std::string wants = dtype_names(rule.dtypes) + " [";
  const char* separator = "";
  for (const Extent& extent : rule.shape) {
    wants += separator + std::string(extent.name);
    if (extent.size != Extent::kAny) wants += "=" + std::to_string(extent.size);
    separator = ", ";
  }
  return wants + "]";
}

// Others say nothing about how much of shape and stride there is.
bool is_rank(int32_t rank) {
  return rank >= 0 && rank <= kMaxRank;
}

std::string list_text(const int64_t* values, int count) {
  std::string list = "[";
  for (int i = 0; i < count; ++i) list += (i > 0 ? ", " : "") + std::to_string(values[i]);
  return list + "]";
}

// Elements from the first to one past the last; -1 if their bytes do not fit kMaxSpanBytes.
int64_t span_of(const TensorView& view) {
  int64_t span = 1;
  for (int i = 0; i < view.rank; ++i) {
    int64_t steps;
    if (view.shape[i] < 2) continue;
    if (__builtin_mul_overflow(view.shape[i] - 1, view.stride[i], &steps) ||
        __builtin_add_overflow(span, steps, &span)) {
      return -1;
    }
  }
  return span <= kMaxSpanBytes / static_cast<int64_t>(size_of(view.dtype)) ? span : -1;
}

// From the smallest stride up, each step must clear what lies below it.
bool elements_overlap(const TensorView& view) {
  std::array<std::pair<int64_t, int64_t>, kMaxRank> steps;  // (stride, extent)
  int count = 0;
  for (int i = 0; i < view.rank; ++i) {
    if (view.shape[i] > 1) steps[count++] = {view.stride[i], view.shape[i]};
  }
  std::sort(steps.begin(), steps.begin() + count);
  int64_t span = 1;
  for (int i = 0; i < count; ++i) {
    const auto [stride, extent] = steps[i];
    if (stride < span) return true;
    span += (extent - 1) * stride;
  }
  return false;
}

bool is_contiguous(const TensorView& view) {
  int64_t stride = 1;
  for (int i = view.rank - 1; i >= 0; --i) {
    if (view.shape[i] > 1 && view.stride[i] != stride) return false;
    stride *= view.shape[i];
  }
  return true;
}

bool rows_are_aligned(const TensorView& view) {
  const auto bytes = static_cast<int64_t>(size_of(view.dtype));
  for (int i = 0; i + 1 < view.rank; ++i) {
    if (view.shape[i] > 1 && view.stride[i] * bytes % kRowAlignBytes != 0) return false;
  }
  return reinterpret_cast<uintptr_t>(view.data) % kRowAlignBytes == 0;
}

Status check_shape(const TensorView& view, const TensorRule& rule) {
  bool fits = is_rank(view.rank) && static_cast<size_t>(view.rank) == rule.shape.size();
  for (int i = 0; fits && i < view.rank; ++i) {
    const int64_t size = rule.shape.begin()[i].size;
    fits = size == Extent::kAny ? view.shape[i] >= 0 : view.shape[i] == size;
  }
  if (fits) return {};
  return invalid_argument(rule.name, ": got shape ", shape_text(view), ", wants ", wanted(rule));
}

Status check_strides(const TensorView& view, const TensorRule& rule, Device device) {
  const auto fail = [&](const char* wants) {
    return invalid_argument(rule.name, ": got strides ", list_text(view.stride, view.rank),
                            " of shape ", shape_text(view), ", wants ", wants);
  };
  for (int i = 0; i < view.rank; ++i) {
    if (view.shape[i] > 1 && view.stride[i] < 0) return fail("none of them negative");
  }
  if (span_of(view) < 0) return fail("offsets that fit in memory");
  const int last = view.rank - 1;
  if (rule.strides == StrideRule::kContiguous && !is_contiguous(view)) {
    return fail("contiguous elements; copy it");
  }
  const bool has_rows =
      rule.strides == StrideRule::kDenseRows || rule.strides == StrideRule::kAlignedRows;
  if (has_rows && view.shape[last] > 1 && view.stride[last] != 1) {
    return fail("1 for the last; make its rows contiguous");
  }
  if (rule.is_written && elements_overlap(view)) {
    return fail("elements that do not overlap, since it is written");
  }
  if (rule.strides == StrideRule::kAlignedRows && device.type == DeviceType::kCuda &&
      !rows_are_aligned(view)) {
    return invalid_argument(rule.name, ": got data ", view.data, " with strides ",
                            list_text(view.stride, view.rank), ", wants every row aligned to ",
                            kRowAlignBytes, " bytes");
  }
  return {};
}

Status check_data(const TensorView& view, const TensorRule& rule) {
  if (view.data == nullptr) {
    if (rule.data_may_be_null) return {};
    return invalid_argument(rule.name, ": got null data, wants ", wanted(rule));
  }
  if (reinterpret_cast<uintptr_t>(view.data) % size_of(view.dtype) != 0) {
    return invalid_argument(rule.name, ": got data ", view.data, ", wants an address aligned to ",
                            size_of(view.dtype), " bytes, the size of ", dtype_name(view.dtype));
  }
  return {};
}

}  // namespace

std::string dtype_names(DTypeSet dtypes) {
  std::string names;
  std::string last;
  for (DType dtype : kDTypesInOrder) {
    if (!dtypes.contains(dtype)) continue;
    if (!last.empty()) names += (names.empty() ? "" : ", ") + last;
    last = dtype_name(dtype);
  }
  return names.empty() ? last : names + " or " + last;
}

bool has_elements(const TensorView& view) {
  return is_rank(view.rank) &&
         std::all_of(view.shape, view.shape + view.rank, [](int64_t extent) { return extent > 0; });
}

std::string dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "float32";
    case DType::kFloat16:
      return "float16";
    case DType::kBFloat16:
      return "bfloat16";
    case DType::kFloat8E4M3:
      return "float8_e4m3";
    case DType::kFloat8E5M2:
      return "float8_e5m2";
    case DType::kInt8:
      return "int8";
    case DType::kUInt8:
      return "uint8";
    case DType::kInt32:
      return "int32";
    case DType::kInt64:
      return "int64";
  }
  return std::to_string(static_cast<int32_t>(dtype));
}

std::string device_name(Device device) {
  if (device == Device{}) return "cpu";
  return (device.type == DeviceType::kCpu ? "cpu:" : "cuda:") + std::to_string(device.index);
}

std::string shape_text(const TensorView& view) {
  if (!is_rank(view.rank)) return "of rank " + std::to_string(view.rank);
  return list_text(view.shape, view.rank);
}

Status check_tensor(const TensorView& view, const TensorRule& rule, const Place& place) {
  // A default view is no tensor at all: what its dtype says is of no interest.
  if (view.data == nullptr && view.rank == 0) {
    return invalid_argument(rule.name, ": got none, wants ", wanted(rule));
  }
  if (!rule.dtypes.contains(view.dtype)) {
    return invalid_argument(
        rule.name, ": got dtype ", dtype_name(view.dtype), ", wants ", wanted(rule),
        is_single(rule.dtypes) ? "; convert it to " + dtype_names(rule.dtypes) : "");
  }
  PAGODA_RETURN_IF_ERROR(check_shape(view, rule));
  PAGODA_RETURN_IF_ERROR(check_device(rule.name, view.device));
  if (view.device != place.device) {
    return invalid_argument(rule.name, ": got device ", device_name(view.device), ", wants ",
                            device_name(place.device), ", the device of ", place.decided_by,
                            "; move it there");
  }
  if (!has_elements(view)) return {};
  PAGODA_RETURN_IF_ERROR(check_strides(view, rule, place.device));
  return check_data(view, rule);
}

Status check_device(const char* name, Device device) {
  if (device.type != DeviceType::kCpu && device.type != DeviceType::kCuda) {
    return invalid_argument(name, ": got device type ", static_cast<int32_t>(device.type),
                            ", wants 0 (cpu) or 1 (cuda)");
  }
  if (device.index >= 0) return {};
  return invalid_argument(name, ": got device index ", device.index, ", wants 0 or more");
}

Status check_between(const char* name, int64_t got, int64_t low, int64_t high) {
  if (low <= got && got <= high) return {};
  return invalid_argument(name, ": got ", got, ", wants ", low, " <= ", name, " <= ", high);
}

Status check_at_least(const char* name, int64_t got, int64_t low) {
  if (got >= low) return {};
  return invalid_argument(name, ": got ", got, ", wants ", name, " >= ", low);
}

Status check_dtype(const char* name, DType got, DTypeSet wanted) {
  if (wanted.contains(got)) return {};
  return invalid_argument(name, ": got ", dtype_name(got), ", wants ", dtype_names(wanted));
}

Status check_apart(const NamedTensor& written, std::initializer_list<NamedTensor> others) {
  if (!written.view.present() || !has_elements(written.view)) return {};
  for (const NamedTensor& other : others) {
    if (other.view.data != written.view.data || !has_elements(other.view)) continue;
    return invalid_argument(written.name, ": got data ", written.view.data, ", which is that of ",
                            other.name, ", wants memory of its own, since it is written");
  }
  return {};
}

Status join_failures(std::initializer_list<Status> results) {
  StatusCode code = StatusCode::kOk;
  std::string lines;
  for (const Status& result : results) {
    if (result.ok()) continue;
    if (code == StatusCode::kOk) code = result.code();
    lines += (lines.empty() ? "" : "\n") + result.message();
  }
  return {code, lines};
}

}  // namespace pagoda
