// One mistake in a valid problem, and what is said of it.
#ifndef PAGODA_TESTS_UNIT_MISTAKE_H_
#define PAGODA_TESTS_UNIT_MISTAKE_H_

#include <gtest/gtest.h>

#include <functional>
#include <ostream>
#include <string>

#include "core/validate.h"
#include "unit/valid_problem.h"

namespace pagoda::testing {

using Problem = AttentionProblem;

inline Status validate(const Problem& problem, ProblemUse use = ProblemUse::kCompute) {
  AttentionParams params;
  return make_attention_params(problem, use, &params);
}

struct Mistake {
  const char* name;
  std::function<void(Problem&, Arena&)> make;
  const char* begins;  // the message
  const char* contains = "";
  StatusCode code = StatusCode::kInvalidArgument;
};

inline std::string name_of(const ::testing::TestParamInfo<Mistake>& info) {
  return info.param.name;
}
inline void PrintTo(const Mistake& mistake, std::ostream* os) {
  *os << mistake.name;
}

inline void expect_mistake(const Mistake& mistake, ValidProblem valid) {
  ASSERT_TRUE(validate(valid.problem).ok()) << validate(valid.problem).message();
  mistake.make(valid.problem, valid.arena);
  const Status status = validate(valid.problem);
  EXPECT_EQ(status.code(), mistake.code);
  const std::string& message = status.message();
  EXPECT_EQ(message.find(mistake.begins), 0u)
      << "got    " << message << "\nwanted " << mistake.begins;
  EXPECT_NE(message.find(mistake.contains), std::string::npos) << message;
}

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_UNIT_MISTAKE_H_
