#include "cpu/backend_cpu.h"
#include "cpu/convert_run.h"
#include "cpu/copy_box.h"
#include "cpu/parallel_ranges.h"

namespace pagoda::cpu {

Status copy_pages(const CopyPages& args, const Execution& execution) {
  const TensorView& from = args.source;
  const TensorView& to = args.destination;
  const auto axis = [&](int i) { return BoxAxis{from.shape[i], from.stride[i], to.stride[i]}; };
  const BoxCopy page(from.dtype, {axis(1), axis(2), axis(3)});
  const int64_t page_elements = from.shape[1] * from.shape[2] * from.shape[3];
  if (page_elements == 0) return {};

  const Elements source{from.data, from.dtype};
  const Elements destination{to.data, to.dtype};
  const auto* pairs = static_cast<const int64_t*>(args.page_pairs.data);
  const int64_t traffic = 2 * page_elements * static_cast<int64_t>(size_of(from.dtype));
  parallel_ranges(execution, args.page_pairs.shape[0], traffic, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      page.run(source.at(pairs[2 * i] * from.stride[0]).data,
               destination.at(pairs[2 * i + 1] * to.stride[0]).data);
    }
  });
  return {};
}

}  // namespace pagoda::cpu
