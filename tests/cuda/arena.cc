#include "cuda/arena.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "oracle_formats.h"

namespace pagoda::testing {
namespace {

bool is_float(DType dtype) {
  return dtype != DType::kInt8 && dtype != DType::kUInt8 && dtype != DType::kInt32 &&
         dtype != DType::kInt64;
}

}  // namespace

Arena::Arena(size_t capacity) : host_(capacity) {}

TensorView Arena::make(DType dtype, const std::vector<int64_t>& shape, const Placement& placement,
                       int64_t skew) {
  constexpr size_t kAlign = 64;
  TensorView view = placed(dtype, shape, placement);
  const size_t begin = (used_ + kGuardBytes + kAlign - 1) / kAlign * kAlign +
                       static_cast<size_t>(skew) * size_of(dtype);
  const size_t end = begin + bytes_spanned(view);
  if (end + kGuardBytes > host_.size()) {
    std::fprintf(stderr, "arena: %zu bytes are too few\n", host_.size());
    std::exit(1);
  }
  view.data = host_.data() + begin;
  used_ = end + kGuardBytes;
  tensors_.push_back(view);
  return view;
}

void Arena::upload() {
  if (device_.empty()) device_.emplace_back(used_);
  check(cudaMemcpy(device_[0].data(), host_.data(), used_, cudaMemcpyHostToDevice), "upload");
  check(cudaDeviceSynchronize(), "upload");  // streams that do not wait for this one come next
}

TensorView Arena::moved(TensorView view, void* base) const {
  if (!view.present()) return view;
  view.data = static_cast<uint8_t*>(base) + (static_cast<uint8_t*>(view.data) - host_.data());
  return view;
}

TensorView Arena::on_device(const TensorView& view) const {
  TensorView result = moved(view, device_[0].data());
  result.device = {DeviceType::kCuda, 0};
  return result;
}

std::vector<uint8_t> Arena::download() const {
  check(cudaDeviceSynchronize(), "kernel");
  std::vector<uint8_t> bytes(used_);
  check(cudaMemcpy(bytes.data(), device_[0].data(), used_, cudaMemcpyDeviceToHost), "download");
  return bytes;
}

TensorView Arena::in(std::vector<uint8_t>* bytes, const TensorView& view) const {
  return moved(view, bytes->data());
}

std::string Arena::difference(const std::vector<uint8_t>& bytes) const {
  if (std::memcmp(bytes.data(), host_.data(), bytes.size()) == 0) return {};
  std::vector<uint8_t> other = bytes;
  for (const TensorView& view : tensors_) {
    if (!is_float(view.dtype)) continue;
    const TensorView theirs = in(&other, view);
    for (int64_t i = 0; i < view.num_elements(); ++i) {
      int64_t at[kMaxRank] = {};
      int64_t rest = i;
      for (int axis = view.rank - 1; axis >= 0; --axis) {
        at[axis] = rest % view.shape[axis];
        rest /= view.shape[axis];
      }
      const void* want = element(view, at[0], at[1], at[2], at[3]);
      void* got = element(theirs, at[0], at[1], at[2], at[3]);
      if (std::memcmp(want, got, size_of(view.dtype)) == 0) continue;
      const double wanted = decode(view.dtype, want);
      const double found = decode(view.dtype, got);
      if (!std::isnan(wanted) || !std::isnan(found)) {
        return "tensor " + std::to_string(&view - tensors_.data()) + " at " +
               std::to_string(at[0]) + ", " + std::to_string(at[1]) + ", " + std::to_string(at[2]) +
               ", " + std::to_string(at[3]) + ": got " + std::to_string(found) + ", wants " +
               std::to_string(wanted);
      }
      std::memcpy(got, want, size_of(view.dtype));
    }
  }
  const auto first = std::mismatch(other.begin(), other.end(), host_.data()).first;
  if (first == other.end()) return {};
  return "byte " + std::to_string(first - other.begin()) + ", in no tensor of floats";
}

}  // namespace pagoda::testing
