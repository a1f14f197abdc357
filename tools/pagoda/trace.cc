#include "trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <string_view>

#include "error.h"
#include "random_data.h"

namespace pagoda::tools {
namespace {

constexpr int32_t kMaxTokens = 1 << 24;

// The cells of one line; none of the columns holds quotes.
std::vector<std::string_view> split_cells(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  std::vector<std::string_view> cells;
  while (true) {
    const size_t comma = line.find(',');
    cells.push_back(line.substr(0, comma));
    if (comma == std::string_view::npos) return cells;
    line.remove_prefix(comma + 1);
  }
}

size_t find_column(const std::vector<std::string_view>& header, std::string_view name,
                   const std::string& path) {
  const auto found = std::find(header.begin(), header.end(), name);
  if (found == header.end()) {
    throw BadInput(fmt::format(
        "{}:1: got no column {}, wants TIMESTAMP, ContextTokens and GeneratedTokens", path, name));
  }
  return static_cast<size_t>(found - header.begin());
}

// Where a number stands, for messages.
struct Place {
  const std::string& path;
  size_t line;
  std::string_view column;
};

int32_t parse_tokens(std::string_view cell, int32_t min, const Place& place) {
  int32_t value = 0;
  const auto [stop, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (error != std::errc() || stop != cell.data() + cell.size() || value < min ||
      value > kMaxTokens) {
    throw BadInput(fmt::format("{}:{}: {}: got \"{}\", wants an integer from {} to {}", place.path,
                               place.line, place.column, cell, min, kMaxTokens));
  }
  return value;
}

int32_t draw_length(const LengthDistribution& lengths, Random* random) {
  const double length = lengths.median * std::exp(lengths.sigma * random->normal());
  return static_cast<int32_t>(
      std::clamp(std::round(length), 1.0, static_cast<double>(lengths.max)));
}

}  // namespace

std::vector<Request> read_trace(const std::string& path, size_t max_requests) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) {
    throw BadInput(fmt::format("{}: cannot be read, or is empty", path));
  }
  const std::string header_line = line;
  const std::vector<std::string_view> header = split_cells(header_line);
  find_column(header, "TIMESTAMP", path);
  const size_t context = find_column(header, "ContextTokens", path);
  const size_t generated = find_column(header, "GeneratedTokens", path);
  std::vector<Request> requests;
  for (size_t number = 2; requests.size() < max_requests && std::getline(file, line); ++number) {
    if (line.empty() || line == "\r") continue;
    const std::vector<std::string_view> cells = split_cells(line);
    if (cells.size() != header.size()) {
      throw BadInput(fmt::format("{}:{}: got {} cells, wants {}, as the header has", path, number,
                                 cells.size(), header.size()));
    }
    requests.push_back(
        {.context_tokens = parse_tokens(cells[context], 1, {path, number, header[context]}),
         .generated_tokens = parse_tokens(cells[generated], 0, {path, number, header[generated]})});
  }
  if (requests.empty()) throw BadInput(fmt::format("{}: got no requests, wants some", path));
  return requests;
}

std::vector<Request> make_trace(size_t num_requests, uint64_t seed) {
  Random random(seed);
  std::vector<Request> requests(num_requests);
  for (Request& request : requests) {
    request = {.context_tokens = draw_length(kContextLengths, &random),
               .generated_tokens = draw_length(kGeneratedLengths, &random)};
  }
  return requests;
}

std::string describe(const LengthDistribution& lengths) {
  return fmt::format("log-normal, median {:.0f}, sigma {:.1f}, at most {}", lengths.median,
                     lengths.sigma, lengths.max);
}

}  // namespace pagoda::tools
