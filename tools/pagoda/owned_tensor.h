// A tensor with memory of its own.
#ifndef PAGODA_TOOLS_PAGODA_OWNED_TENSOR_H_
#define PAGODA_TOOLS_PAGODA_OWNED_TENSOR_H_

#include <cstdint>
#include <vector>

#include "host_memory.h"
#include "pagoda/types.h"

namespace pagoda::tools {

struct OwnedTensor {
  HostBuffer memory;
  TensorView view;
};

// Zeros, of up to kMaxRank dimensions. Its data is never null, so that it counts as present.
OwnedTensor make_dense_tensor(DType dtype, const std::vector<int64_t>& shape);

// Bytes that the elements of a dense view take.
size_t dense_bytes(const TensorView& view);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_OWNED_TENSOR_H_
