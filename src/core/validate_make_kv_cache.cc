#include "core/checks.h"
#include "core/geometry_checks.h"
#include "core/validate.h"

namespace pagoda {
namespace {

// As far as an address space could ever hold; so the size of a cache fits an int64.
Status check_cache_bytes(const MakeKvCache& args) {
  constexpr int64_t kMaxBytes = int64_t{1} << 56;
  int64_t bytes = int64_t{2} * static_cast<int64_t>(size_of(args.dtype)) * args.head_dim +
                  int64_t{2} * static_cast<int64_t>(sizeof(float));
  bool fits = true;
  for (const int64_t extent :
       {int64_t{args.num_kv_heads}, int64_t{args.page_size}, args.num_pages}) {
    fits = fits && !__builtin_mul_overflow(bytes, extent, &bytes) && bytes <= kMaxBytes;
  }
  if (fits) return {};
  return invalid_argument("num_pages: got ", args.num_pages, " of page_size=", args.page_size,
                          ", num_kv_heads=", args.num_kv_heads, ", head_dim=", args.head_dim,
                          ", wants fewer bytes than an address space has; ask for fewer pages");
}

}  // namespace

Status validate_make_kv_cache(const MakeKvCache& args) {
  PAGODA_RETURN_IF_ERROR(check_between("num_pages", args.num_pages, 1, kMaxInt32));
  PAGODA_RETURN_IF_ERROR(check_between("page_size", args.page_size, 1, kMaxInt32));
  PAGODA_RETURN_IF_ERROR(check_between("num_kv_heads", args.num_kv_heads, 1, kMaxInt32));
  PAGODA_RETURN_IF_ERROR(check_head_dim(args.head_dim));
  PAGODA_RETURN_IF_ERROR(check_dtype("dtype", args.dtype, kPages));
  if (args.layout != KvLayout::kHnd && args.layout != KvLayout::kNhd) {
    return invalid_argument("layout: got ", static_cast<int32_t>(args.layout),
                            ", wants 0 (head-major) or 1 (token-major)");
  }
  if (args.token_scales && !kQuantised.contains(args.dtype)) {
    return invalid_argument("token_scales: got true with ", dtype_name(args.dtype),
                            " pages, wants it with fp8 or int8 pages only; leave it out");
  }
  return check_cache_bytes(args);
}

}  // namespace pagoda
