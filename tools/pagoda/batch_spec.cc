#include "batch_spec.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <string_view>

#include "error.h"

namespace pagoda::tools {
namespace {

constexpr int32_t kMaxCount = 1 << 16;
constexpr int32_t kMaxLength = 1 << 24;

// Takes tokens off the front of one group.
class GroupReader {
 public:
  explicit GroupReader(std::string_view text) : rest_(text) {}

  bool done() const { return rest_.empty(); }

  bool take(char c) {
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }

  // An integer in [1, max], with "k" times 1024 where `allow_k`.
  std::optional<int32_t> take_number(int32_t max, bool allow_k) {
    int64_t value = 0;
    const auto [stop, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error != std::errc() || value < 1 || value > max) return std::nullopt;
    rest_.remove_prefix(static_cast<size_t>(stop - rest_.data()));
    if (allow_k && take('k')) value *= 1024;
    if (value > max) return std::nullopt;
    return static_cast<int32_t>(value);
  }

 private:
  std::string_view rest_;
};

struct Group {
  int32_t count;
  SeqLengths lengths;
};

std::optional<Group> parse_group(std::string_view text) {
  GroupReader reader(text);
  Group group{.count = 1, .lengths = {}};
  if (!reader.take('q')) {
    const auto count = reader.take_number(kMaxCount, /*allow_k=*/false);
    if (!count || !reader.take('q')) return std::nullopt;
    group.count = *count;
  }
  const auto q_len = reader.take_number(kMaxLength, /*allow_k=*/true);
  if (!q_len) return std::nullopt;
  group.lengths = {*q_len, *q_len};
  if (reader.take('s')) {
    const auto k_len = reader.take_number(kMaxLength, /*allow_k=*/true);
    if (!k_len || *k_len < *q_len) return std::nullopt;
    group.lengths.k_len = *k_len;
  }
  return reader.done() ? std::optional(group) : std::nullopt;
}

}  // namespace

std::vector<SeqLengths> parse_batch_spec(const std::string& spec) {
  std::vector<SeqLengths> seqs;
  size_t begin = 0;
  while (begin <= spec.size()) {
    const size_t end = std::min(spec.find('_', begin), spec.size());
    const std::string text = spec.substr(begin, end - begin);
    const auto group = parse_group(text);
    if (!group) {
      throw BadInput(fmt::format(
          "batch \"{}\": got the group \"{}\", wants [count]q<length>[s<length>] with 1 <= count "
          "<= {}, 1 <= q <= s <= {}, as in 2q2k_32q1s4k",
          spec, text, kMaxCount, kMaxLength));
    }
    seqs.insert(seqs.end(), static_cast<size_t>(group->count), group->lengths);
    if (seqs.size() > static_cast<size_t>(kMaxCount)) {
      throw BadInput(fmt::format("batch \"{}\": got more than {} sequences", spec, kMaxCount));
    }
    begin = end + 1;
  }
  return seqs;
}

}  // namespace pagoda::tools
