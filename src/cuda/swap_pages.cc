#include "cuda/swap_pages.h"

#include "core/checks.h"
#include "cuda/device_status.h"
#include "cuda/kernels/cache/swap_pages.h"
#include "cuda/page_box.h"

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

// Pairs whose pages follow each other on both sides.
struct PairRun {
  int64_t source;
  int64_t destination;
  int64_t num_pages;
};

PairRun run_at(const TensorView& page_pairs, int64_t begin) {
  const int64_t* pairs = static_cast<const int64_t*>(page_pairs.data) + 2 * begin;
  const int64_t most = page_pairs.shape[0] - begin;
  PairRun run{pairs[0], pairs[1], 1};
  while (run.num_pages < most && pairs[2 * run.num_pages] == run.source + run.num_pages &&
         pairs[2 * run.num_pages + 1] == run.destination + run.num_pages) {
    ++run.num_pages;
  }
  return run;
}

// A run of pages in as few copies as there can be.
cudaError_t enqueue_copies(const CopyPages& args, cudaStream_t stream) {
  const PageBox box = make_page_box(args.source, args.destination);
  const int64_t unit = box.unit_bytes;
  for (int64_t begin = 0; begin < args.page_pairs.shape[0];) {
    const PairRun run = run_at(args.page_pairs, begin);
    const Ends ends{
        static_cast<const char*>(args.source.data) + run.source * box.source_page_stride * unit,
        static_cast<char*>(args.destination.data) +
            run.destination * box.destination_page_stride * unit};
    const cudaError_t error = copy_axes(byte_box(box, run.num_pages), 0, ends, stream);
    if (error != cudaSuccess) return error;
    begin += run.num_pages;
  }
  return cudaSuccess;
}

// A copy of the engines takes 2 to 3 us to start: an eighth of what the bus takes for so many
// bytes.
constexpr int64_t kEngineCopyBytes = 1 << 20;

int64_t num_byte_runs(const PageBox& box, int64_t num_pages) {
  const ByteBox bytes = byte_box(box, num_pages);
  int64_t count = 1;
  for (int i = 0; i < bytes.num_axes; ++i) count *= bytes.axes[i].extent;
  return count;
}

// Whether the bytes lie together in runs so long that copy engines are as fast as the bus. They
// take no SM.
bool suits_engines(const PageBox& box, const TensorView& page_pairs) {
  const int64_t num_pairs = page_pairs.shape[0];
  int64_t num_runs = num_pairs * num_byte_runs(box, 1);
  if (num_byte_runs(box, 2) == 1) {
    num_runs = 0;
    for (int64_t i = 0; i < num_pairs; i += run_at(page_pairs, i).num_pages) ++num_runs;
  }
  const int64_t bytes = num_pairs * box.num_units() * box.unit_bytes;
  return num_runs <= 1 + bytes / kEngineCopyBytes;
}

// The tensor's memory as kernels on the current device see it, null if they do not. Host memory
// is pinned if both ends of it are.
cudaError_t find_seen(const TensorView& view, int32_t device, void** seen) {
  *seen = nullptr;
  if (view.device.type == DeviceType::kCuda) {
    if (view.device.index == device) *seen = view.data;
    return cudaSuccess;
  }
  int64_t last = 0;
  for (int i = 0; i < view.rank; ++i) last += (view.shape[i] - 1) * view.stride[i];
  const int64_t last_byte = (last + 1) * static_cast<int64_t>(size_of(view.dtype)) - 1;
  cudaPointerAttributes ends[2];
  for (const int end : {0, 1}) {
    const cudaError_t error =
        cudaPointerGetAttributes(&ends[end], static_cast<const char*>(view.data) + end * last_byte);
    if (error != cudaSuccess) return error;
    if (ends[end].type != cudaMemoryTypeHost || ends[end].devicePointer == nullptr) {
      return cudaSuccess;
    }
  }
  auto* const first = static_cast<char*>(ends[0].devicePointer);
  if (ends[1].devicePointer == first + last_byte) *seen = first;
  return cudaSuccess;
}

// Whether 31 bits hold page ids and the units of a page.
bool fits_kernel(const PageBox& box, const CopyPages& args) {
  return args.source.shape[0] <= kMaxInt32 && args.destination.shape[0] <= kMaxInt32 &&
         box.num_units() <= kMaxInt32;
}

}  // namespace

cudaError_t enqueue_swap(const CopyPages& args, int32_t device, cudaStream_t stream) {
  CopyPages seen = args;
  cudaError_t error = find_seen(args.source, device, &seen.source.data);
  if (error == cudaSuccess) error = find_seen(args.destination, device, &seen.destination.data);
  if (error != cudaSuccess) return error;
  if (!seen.source.present() || !seen.destination.present() || !check_hopper(device).ok()) {
    return enqueue_copies(args, stream);
  }
  const PageBox box = make_page_box(seen.source, seen.destination);
  if (!fits_kernel(box, args) || suits_engines(box, args.page_pairs)) {
    return enqueue_copies(args, stream);
  }
  return launch_swap_pages({.box = box,
                            .source = seen.source.data,
                            .destination = seen.destination.data,
                            .page_pairs = static_cast<const int64_t*>(args.page_pairs.data),
                            .num_pairs = args.page_pairs.shape[0]},
                           stream);
}

}  // namespace pagoda::cuda
