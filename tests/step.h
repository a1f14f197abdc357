// A serving step whose q, K and V follow from sequence and position alone, so that the same tokens
// can be laid out, batched and chunked in many ways and their results compared row by row.
#ifndef PAGODA_TESTS_STEP_H_
#define PAGODA_TESTS_STEP_H_

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "cases_memory.h"
#include "pagoda/attention.h"

namespace pagoda::testing {

struct Model {
  int32_t num_q_heads = 4;
  int32_t num_kv_heads = 2;
  int32_t head_dim = 64;
  DType dtype = DType::kBFloat16;
  int32_t layer = 0;  // each layer has data of its own
};

// Tokens [begin, end) of a sequence are queries; keys are [0, end).
struct Slice {
  uint32_t sequence;
  int32_t begin;
  int32_t end;
};

struct StepLayout {
  int32_t page_size = 16;
  uint32_t page_seed = 1;  // order of pages in memory
  int32_t padding_rows = 0;
};

// Out and lse of a row, all heads, by (sequence, position).
using RowBits = std::map<std::pair<uint32_t, int32_t>, std::vector<uint8_t>>;

class Step {
 public:
  Step(const Model& model, const std::vector<Slice>& slices, const StepLayout& layout = {});

  AttentionProblem& problem() { return problem_; }

  // Plans and computes into poisoned outputs, with a workspace of exactly the size asked for.
  // Fails the test if a call fails.
  RowBits run(const Execution& execution = {});
  // Computes with a plan that is there already.
  RowBits run(const Plan& plan, const Execution& execution = {});

 private:
  void fill(const Model& model, const StepLayout& layout);

  std::vector<Slice> slices_;
  TensorPool pool_;
  AttentionProblem problem_;
};

// What explain() says of `problem`.
Explanation explained(const AttentionProblem& problem);

// Largest difference between two results, of out and of lse, over the rows of `rows`; every row of
// it must be in `reference`.
double largest_difference(const RowBits& rows, const RowBits& reference, const Model& model);

// Fails the test, naming the row, unless every row of `rows` has the bits that `reference` has.
void expect_same_bits(const RowBits& rows, const RowBits& reference);

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_STEP_H_
