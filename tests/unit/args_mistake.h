// One mistake in valid arguments of an operation, and what is said of it.
#ifndef PAGODA_TESTS_UNIT_ARGS_MISTAKE_H_
#define PAGODA_TESTS_UNIT_ARGS_MISTAKE_H_

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "pagoda/status.h"
#include "unit/valid_problem.h"

namespace pagoda::testing {

template <class Args>
struct ArgsMistake {
  void (*make)(Args&, Arena&);
  const char* begins;  // the message
  StatusCode code = StatusCode::kInvalidArgument;
};

// `valid` makes valid arguments, `validate` checks them.
template <class Args, class Valid, class Validate>
void expect_args_mistakes(const std::vector<ArgsMistake<Args>>& mistakes, Valid&& valid,
                          Validate&& validate) {
  for (const ArgsMistake<Args>& mistake : mistakes) {
    Arena arena;
    Args args = valid(arena);
    ASSERT_TRUE(validate(args).ok()) << validate(args).message();
    mistake.make(args, arena);
    const Status status = validate(args);
    EXPECT_EQ(status.code(), mistake.code) << mistake.begins;
    EXPECT_EQ(status.message().find(mistake.begins), 0u)
        << "got    " << status.message() << "\nwanted " << mistake.begins;
  }
}

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_UNIT_ARGS_MISTAKE_H_
