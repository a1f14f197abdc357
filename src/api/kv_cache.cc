// Validates, chooses the backend by device, calls it. Nothing else.
#include "pagoda/kv_cache.h"

#include "core/checks.h"
#include "core/validate.h"
#include "cpu/backend_cpu.h"
#include "cuda/backend_cuda.h"

namespace pagoda {
namespace {

bool on_cuda(const TensorView& view) {
  return view.device.type == DeviceType::kCuda;
}

}  // namespace

Status make_kv_cache(const MakeKvCache& args, HostKvCache* cache) {
  if (cache == nullptr) return invalid_argument("cache: got null, wants a pointer");
  PAGODA_RETURN_IF_ERROR(validate_make_kv_cache(args));
  return cpu::make_kv_cache(args, cache);
}

Status write_kv_cache(const WriteKvCache& args, const Execution& execution) {
  PAGODA_RETURN_IF_ERROR(validate_execution(execution));
  PAGODA_RETURN_IF_ERROR(validate_write_kv_cache(args));
  return on_cuda(args.k_pages) ? cuda::write_kv_cache(args, execution)
                               : cpu::write_kv_cache(args, execution);
}

Status merge_states(const AttentionState* states, int32_t num_states, const AttentionState& merged,
                    LseLayout lse_layout, const Execution& execution) {
  PAGODA_RETURN_IF_ERROR(validate_execution(execution));
  PAGODA_RETURN_IF_ERROR(validate_merge_states(states, num_states, merged, lse_layout));
  return on_cuda(merged.out) ? cuda::merge_states(states, num_states, merged, lse_layout, execution)
                             : cpu::merge_states(states, num_states, merged, lse_layout, execution);
}

Status gather_kv_cache(const GatherKvCache& args, const Execution& execution) {
  PAGODA_RETURN_IF_ERROR(validate_execution(execution));
  PAGODA_RETURN_IF_ERROR(validate_gather_kv_cache(args));
  return on_cuda(args.kv.k_pages) ? cuda::gather_kv_cache(args, execution)
                                  : cpu::gather_kv_cache(args, execution);
}

Status copy_pages(const CopyPages& args, const Execution& execution) {
  PAGODA_RETURN_IF_ERROR(validate_execution(execution));
  PAGODA_RETURN_IF_ERROR(validate_copy_pages(args, /*across_devices=*/false));
  return on_cuda(args.source) ? cuda::copy_pages(args, execution)
                              : cpu::copy_pages(args, execution);
}

Status swap_pages(const CopyPages& args, const Execution& execution) {
  PAGODA_RETURN_IF_ERROR(validate_execution(execution));
  PAGODA_RETURN_IF_ERROR(validate_copy_pages(args, /*across_devices=*/true));
  return on_cuda(args.source) || on_cuda(args.destination) ? cuda::swap_pages(args, execution)
                                                           : cpu::copy_pages(args, execution);
}

}  // namespace pagoda
