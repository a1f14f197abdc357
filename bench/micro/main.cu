// Measures what the kernels' design rests on: how fast memory can be read in which way, what the
// tensor cores, conversions and launches cost.
//   gpu_micro [--json=FILE] [stream_read] [page_read] [launch_gap] [mma_rate] [mma_error]
//             [convert_rate]
#include <cstring>

#include "measure.h"

int main(int argc, char** argv) {
  namespace micro = pagoda::micro;
  struct Bench {
    const char* name;
    void (*run)(micro::Report&);
  };
  constexpr Bench kBenches[] = {
      {"stream_read", micro::run_stream_read}, {"page_read", micro::run_page_read},
      {"launch_gap", micro::run_launch_gap},   {"mma_rate", micro::run_mma_rate},
      {"mma_error", micro::run_mma_error},     {"convert_rate", micro::run_convert_rate}};
  const char* json_path = nullptr;
  std::vector<const Bench*> chosen;
  for (int i = 1; i < argc; ++i) {
    const Bench* named = nullptr;
    for (const Bench& bench : kBenches) {
      if (std::strcmp(argv[i], bench.name) == 0) named = &bench;
    }
    if (named != nullptr) {
      chosen.push_back(named);
    } else if (std::strncmp(argv[i], "--json=", 7) == 0) {
      json_path = argv[i] + 7;
    } else {
      std::fprintf(stderr, "gpu_micro: got argument '%s'; wants --json=FILE or one of:", argv[i]);
      for (const Bench& bench : kBenches) std::fprintf(stderr, " %s", bench.name);
      std::fprintf(stderr, "\n");
      return 2;
    }
  }
  if (chosen.empty()) {
    for (const Bench& bench : kBenches) chosen.push_back(&bench);
  }
  const micro::Gpu gpu = micro::current_gpu();
  std::printf("# %s, %d SMs\n", gpu.name.c_str(), gpu.num_sms);
  micro::Report report(gpu, json_path);
  for (const Bench* bench : chosen) bench->run(report);
  return 0;
}
