#include "owned_tensor.h"

#include <algorithm>

namespace pagoda::tools {

OwnedTensor make_dense_tensor(DType dtype, const std::vector<int64_t>& shape) {
  OwnedTensor tensor{.memory = {}, .view = {.dtype = dtype}};
  TensorView& view = tensor.view;
  for (const int64_t extent : shape) view.shape[view.rank++] = extent;
  int64_t stride = 1;
  for (int32_t i = view.rank - 1; i >= 0; --i) {
    view.stride[i] = stride;
    stride *= view.shape[i];
  }
  tensor.memory = HostBuffer(std::max<size_t>(1, dense_bytes(view)));
  view.data = tensor.memory.data();
  return tensor;
}

size_t dense_bytes(const TensorView& view) {
  return static_cast<size_t>(view.num_elements()) * size_of(view.dtype);
}

}  // namespace pagoda::tools
