// Batches in short: "2q2k_32q1s4k" is 2 sequences of 2048 new tokens and 32 sequences of 1 new
// token with 4096 tokens of KV, the new one included.
#ifndef PAGODA_TOOLS_PAGODA_BATCH_SPEC_H_
#define PAGODA_TOOLS_PAGODA_BATCH_SPEC_H_

#include <cstdint>
#include <string>
#include <vector>

namespace pagoda::tools {

struct SeqLengths {
  int32_t q_len = 0;
  int32_t k_len = 0;
};

// Groups joined by "_"; a group is [count] "q" length ["s" length]. Without a count it is one
// sequence, without "s" the new tokens are all that there are. A length is an integer, with "k"
// times 1024. Throws BadInput.
std::vector<SeqLengths> parse_batch_spec(const std::string& spec);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_BATCH_SPEC_H_
