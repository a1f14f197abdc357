#include <algorithm>
#include <utility>
#include <vector>

#include "core/checks.h"
#include "core/validate.h"

namespace pagoda {
namespace {

// One end of a pair: the page and the pair's number.
struct PairEnd {
  int64_t page;
  int64_t pair;

  friend bool operator<(const PairEnd& a, const PairEnd& b) {
    return std::pair(a.page, a.pair) < std::pair(b.page, b.pair);
  }
};

// Sorted by page.
std::vector<PairEnd> pair_ends(const CopyPages& args, int side) {
  const auto* pairs = static_cast<const int64_t*>(args.page_pairs.data);
  std::vector<PairEnd> ends(static_cast<size_t>(args.page_pairs.shape[0]));
  for (size_t i = 0; i < ends.size(); ++i) {
    ends[i] = {pairs[2 * i + static_cast<size_t>(side)], static_cast<int64_t>(i)};
  }
  std::sort(ends.begin(), ends.end());
  return ends;
}

// That no two pairs write one page and, within one tensor, that none writes what one reads: pairs
// are copied in any order, and at once.
Status check_pairs_apart(const CopyPages& args) {
  const std::vector<PairEnd> written = pair_ends(args, 1);
  const auto same_page = [](const PairEnd& a, const PairEnd& b) { return a.page == b.page; };
  const auto twice = std::adjacent_find(written.begin(), written.end(), same_page);
  if (twice != written.end()) {
    return invalid_contents("page_pairs: got destination page ", twice->page, " in pair ",
                            twice->pair, " and in pair ", (twice + 1)->pair,
                            ", wants each destination once; leave one of them out");
  }
  if (args.source.data != args.destination.data) return {};
  const std::vector<PairEnd> read = pair_ends(args, 0);
  for (const PairEnd& end : written) {
    const auto reader = std::lower_bound(read.begin(), read.end(), PairEnd{end.page, 0});
    if (reader == read.end() || reader->page != end.page) continue;
    return invalid_contents("page_pairs: got page ", end.page, " as the destination of pair ",
                            end.pair, " and the source of pair ", reader->pair,
                            ", wants no page of one tensor both read and written; copy in two "
                            "calls");
  }
  return {};
}

Status check_page_pairs(const CopyPages& args) {
  const auto* pairs = static_cast<const int64_t*>(args.page_pairs.data);
  const TensorView* tensors[] = {&args.source, &args.destination};
  const char* limits[] = {"source's num_pages", "destination's num_pages"};
  for (int64_t i = 0; i < args.page_pairs.num_elements(); ++i) {
    const int64_t side = i % 2;
    if (pairs[i] >= 0 && pairs[i] < tensors[side]->shape[0]) continue;
    return invalid_contents("page_pairs: page id out of range at (pair ", i / 2, ", column ", side,
                            ", value ", pairs[i], "), wants 0 <= id < ", limits[side], "=",
                            tensors[side]->shape[0]);
  }
  return check_pairs_apart(args);
}

}  // namespace

Status validate_copy_pages(const CopyPages& args, bool across_devices) {
  const TensorView& source = args.source;
  const TensorView& destination = args.destination;
  const Place at_source{source.device, "source"};
  const Place at_destination{destination.device, "destination"};
  PAGODA_RETURN_IF_ERROR(
      check_tensor(source,
                   {.name = "source",
                    .dtypes = kAllDTypes,
                    .shape = {{"num_pages"}, {"page_size"}, {"num_kv_heads"}, {"head_dim"}}},
                   at_source));
  PAGODA_RETURN_IF_ERROR(check_tensor(destination,
                                      {.name = "destination",
                                       .dtypes = {source.dtype},
                                       .shape = {{"num_pages"},
                                                 {"page_size", source.shape[1]},
                                                 {"num_kv_heads", source.shape[2]},
                                                 {"head_dim", source.shape[3]}},
                                       .is_written = true},
                                      across_devices ? at_destination : at_source));
  PAGODA_RETURN_IF_ERROR(check_tensor(args.page_pairs,
                                      {.name = "page_pairs",
                                       .dtypes = {DType::kInt64},
                                       .shape = {{"num_pairs"}, {"source and destination", 2}},
                                       .strides = StrideRule::kContiguous},
                                      across_devices ? Place{Device{}, "the host"} : at_source));
  return args.checked && args.page_pairs.device.type == DeviceType::kCpu ? check_page_pairs(args)
                                                                         : Status{};
}

}  // namespace pagoda
