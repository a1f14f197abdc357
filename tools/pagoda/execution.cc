#include "execution.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <string>

#include "error.h"
#include "pagoda/attention.h"

namespace pagoda::tools {
namespace {

constexpr int32_t kMaxThreads = 1024;

size_t workspace_bytes(int32_t num_workers) {
  const AttentionLimits limits{.max_num_tokens = 1,
                               .max_num_seqs = 1,
                               .max_seqlen_k = 1,
                               .num_q_heads = 1,
                               .num_kv_heads = 1,
                               .head_dim = 64,
                               .num_workers = num_workers};
  size_t bytes = 0;
  require_ok(workspace_size(limits, &bytes));
  return bytes;
}

}  // namespace

void add_threads_option(CLI::App* command) {
  command
      ->add_option_function<int32_t>(
          "--threads",
          [](const int32_t& count) {
            setenv("PAGODA_NUM_THREADS", std::to_string(count).c_str(), /*overwrite=*/1);
          },
          "Threads of the library's pool")
      ->check(CLI::Range(1, kMaxThreads))
      ->option_text("N=all that this process may use");
}

// Each worker has scratch memory of its own, so the pool's size shows in the workspace that the
// library asks for.
int32_t num_threads() {
  const size_t one = workspace_bytes(1);
  const size_t per_worker = workspace_bytes(2) - one;
  return 1 + static_cast<int32_t>((workspace_bytes(0) - one) / per_worker);
}

}  // namespace pagoda::tools
