#include "cuda/swap_pages.h"

namespace pagoda::cuda {
namespace {

constexpr int64_t kMaxPitchBytes = 0x7fffffff;  // cudaDevAttrMaxPitch

struct Ends {
  const char* source;
  char* destination;

  Ends at(const BoxAxis& axis, int64_t index) const {
    return {source + index * axis.source_stride, destination + index * axis.destination_stride};
  }
};

// Axes whose strides are in bytes, around runs of bytes that lie together.
struct ByteBox {
  BoxAxis axes[kPageAxes + 1];  // of pages first
  int num_axes = 0;
  int64_t run_bytes;
};

ByteBox byte_box(const PageBox& box, int64_t num_pages) {
  const int64_t unit = box.unit_bytes;
  const auto in_bytes = [&](const BoxAxis& axis) {
    return BoxAxis{axis.extent, axis.source_stride * unit, axis.destination_stride * unit};
  };
  ByteBox result{.axes = {}, .num_axes = 0, .run_bytes = unit};
  if (num_pages > 1) {
    result.axes[result.num_axes++] =
        in_bytes({num_pages, box.source_page_stride, box.destination_page_stride});
  }
  for (int i = 0; i < box.num_axes; ++i) result.axes[result.num_axes++] = in_bytes(box.axes[i]);
  // Whatever lies without gaps in both, from the innermost axis on, is one run.
  while (result.num_axes > 0) {
    const BoxAxis& last = result.axes[result.num_axes - 1];
    if (last.source_stride != result.run_bytes || last.destination_stride != result.run_bytes) {
      break;
    }
    result.run_bytes *= last.extent;
    --result.num_axes;
  }
  return result;
}

bool fits_pitch(const BoxAxis& axis, int64_t run_bytes) {
  const auto fits = [&](int64_t pitch) { return pitch >= run_bytes && pitch <= kMaxPitchBytes; };
  return fits(axis.source_stride) && fits(axis.destination_stride);
}

cudaError_t copy_axes(const ByteBox& box, int axis_index, const Ends& ends, cudaStream_t stream) {
  const auto bytes = static_cast<size_t>(box.run_bytes);
  if (axis_index == box.num_axes) {
    return cudaMemcpyAsync(ends.destination, ends.source, bytes, cudaMemcpyDefault, stream);
  }
  const BoxAxis& axis = box.axes[axis_index];
  if (axis_index + 1 == box.num_axes && fits_pitch(axis, box.run_bytes)) {
    return cudaMemcpy2DAsync(ends.destination, static_cast<size_t>(axis.destination_stride),
                             ends.source, static_cast<size_t>(axis.source_stride), bytes,
                             static_cast<size_t>(axis.extent), cudaMemcpyDefault, stream);
  }
  for (int64_t i = 0; i < axis.extent; ++i) {
    const cudaError_t error = copy_axes(box, axis_index + 1, ends.at(axis, i), stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t enqueue_swap(const CopyPages& args, const PageBox& box, cudaStream_t stream) {
  const auto* pairs = static_cast<const int64_t*>(args.page_pairs.data);
  const int64_t num_pairs = args.page_pairs.shape[0];
  const int64_t unit = box.unit_bytes;
  for (int64_t begin = 0; begin < num_pairs;) {
    const int64_t source = pairs[2 * begin];
    const int64_t destination = pairs[2 * begin + 1];
    int64_t count = 1;
    while (begin + count < num_pairs && pairs[2 * (begin + count)] == source + count &&
           pairs[2 * (begin + count) + 1] == destination + count) {
      ++count;
    }
    const Ends ends{
        static_cast<const char*>(args.source.data) + source * box.source_page_stride * unit,
        static_cast<char*>(args.destination.data) +
            destination * box.destination_page_stride * unit};
    const cudaError_t error = copy_axes(byte_box(box, count), 0, ends, stream);
    if (error != cudaSuccess) return error;
    begin += count;
  }
  return cudaSuccess;
}

}  // namespace pagoda::cuda
