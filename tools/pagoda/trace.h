// Requests to a serving engine: from a file, or made up.
#ifndef PAGODA_TOOLS_PAGODA_TRACE_H_
#define PAGODA_TOOLS_PAGODA_TRACE_H_

#include <cstdint>
#include <string>
#include <vector>

namespace pagoda::tools {

struct Request {
  int32_t context_tokens = 1;    // of the prompt
  int32_t generated_tokens = 1;  // the first comes from the prompt's last chunk

  // Tokens whose K and V are in the cache in the end: the last one generated never gets there.
  int32_t cached_tokens() const {
    return context_tokens + (generated_tokens > 0 ? generated_tokens - 1 : 0);
  }
};

// A comma-separated file with the columns TIMESTAMP, ContextTokens and GeneratedTokens, in any
// order, among others; its first `max_requests` requests. Throws BadInput.
std::vector<Request> read_trace(const std::string& path, size_t max_requests);

// Log-normal lengths, rounded and clamped.
struct LengthDistribution {
  double median = 1.0;
  double sigma = 1.0;  // of the logarithm
  int32_t max = 1;
};

constexpr LengthDistribution kContextLengths{.median = 512.0, .sigma = 1.0, .max = 4096};
constexpr LengthDistribution kGeneratedLengths{.median = 64.0, .sigma = 0.8, .max = 512};

// Requests with kContextLengths and kGeneratedLengths.
std::vector<Request> make_trace(size_t num_requests, uint64_t seed);

std::string describe(const LengthDistribution& lengths);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_TRACE_H_
