// Every case of every grid against the oracle.
//
//   attention_test                      all cases
//   attention_test --case="seqs=..."    one case; a failure prints its line
//   attention_test --isa=NAME           exits with 77 unless NAME is the instruction set in use
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <optional>
#include <string>

#include "cases.h"
#include "cases_memory.h"
#include "cpu/kernel_table.h"
#include "pagoda/attention.h"

namespace pagoda::testing {
namespace {

constexpr int kSkipped = 77;
constexpr int kUsage = 2;

class AttentionCase : public ::testing::Test {
 public:
  explicit AttentionCase(const Case& spec) : spec_(spec) {}

  void TestBody() override {
    SCOPED_TRACE("attention_test --case=\"" + to_line(spec_) + "\"");
    BuiltCase built(spec_);
    const AttentionProblem& problem = built.problem();
    EXPECT_TRUE(supported(problem).ok()) << supported(problem).message();
    size_t bytes = 0;
    Status status = workspace_size(limits_of(problem), &bytes);
    ASSERT_TRUE(status.ok()) << status.message();
    Buffer workspace(bytes, kGuardBytes);
    Plan step;
    status = plan(problem, {workspace.data(), bytes}, {}, &step);
    ASSERT_TRUE(status.ok()) << status.message();
    status = attention(problem, step);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_TRUE(workspace.guards_intact()) << "wrote outside the workspace";
    const Verdict verdict = verify(built);
    EXPECT_TRUE(verdict.ok) << verdict.message;
  }

 private:
  Case spec_;
};

void register_case(const char* suite, const Case& c) {
  ::testing::RegisterTest(suite, to_line(c).c_str(), nullptr, nullptr, __FILE__, __LINE__,
                          [c]() -> AttentionCase* { return new AttentionCase(c); });
}

void register_all_grids() {
  for (const Grid& grid : all_grids(400, 1)) {
    for (const Case& c : grid.cases) register_case(grid.name.c_str(), c);
    std::printf("%s: %zu cases\n", grid.name.c_str(), grid.cases.size());
  }
}

// The value of `argument` if it is "--name=value".
std::optional<std::string> option(const char* argument, const std::string& name) {
  const std::string prefix = "--" + name + "=";
  if (std::strncmp(argument, prefix.c_str(), prefix.size()) != 0) return std::nullopt;
  return argument + prefix.size();
}

// Empty, or why the instruction set in use is not `isa`.
std::string other_isa(const std::string& isa) {
  if (!cpu::isa_error().empty()) return cpu::isa_error();
  const std::string used = cpu::kernels().name;
  if (used == isa) return {};
  return "--isa: got " + isa + ", but " + used + " is in use; set PAGODA_CPU_ISA=" + isa;
}

int run(int argc, char** argv) {
  bool one_case = false;
  for (int i = 1; i < argc; ++i) {
    if (const auto line = option(argv[i], "case")) {
      Case c;
      std::string error;
      if (!parse_case(*line, &c, &error)) {
        std::fprintf(stderr, "%s\n", error.c_str());
        return kUsage;
      }
      register_case("case", c);
      one_case = true;
    } else if (const auto isa = option(argv[i], "isa")) {
      const std::string reason = other_isa(*isa);
      if (!reason.empty()) {
        std::printf("skipped: %s\n", reason.c_str());
        return kSkipped;
      }
    } else {
      std::fprintf(stderr, "got %s, wants --case=LINE, --isa=NAME or a --gtest_ option\n", argv[i]);
      return kUsage;
    }
  }
  if (!one_case) register_all_grids();
  return RUN_ALL_TESTS();
}

}  // namespace
}  // namespace pagoda::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  return pagoda::testing::run(argc, argv);
}
