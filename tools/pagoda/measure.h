// Timing of one batch over a cold cache.
#ifndef PAGODA_TOOLS_PAGODA_MEASURE_H_
#define PAGODA_TOOLS_PAGODA_MEASURE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "batch_spec.h"
#include "geometry.h"

namespace pagoda::tools {

struct Measurement {
  int32_t num_kv_sets = 0;  // through which calls rotate, so that K and V are in no cache
  int64_t num_calls = 0;
  double plan_seconds = 0.0;       // median
  double attention_seconds = 0.0;  // median
  double fastest_seconds = 0.0;
  double bytes = 0.0;  // K and V that must be read once, q and out
  double flops = 0.0;  // 4 * head_dim * num_q_heads * visible pairs
  std::string kernel;
  int64_t num_workers = 0;
};

struct MeasureOptions {
  double min_seconds = 1.0;  // of measuring, at least kMinCalls calls
  uint64_t seed = 1;
};

// Random normal q, K and V; pages in random order.
Measurement measure(const Geometry& geometry, const std::vector<SeqLengths>& seqs,
                    const MeasureOptions& options);

}  // namespace pagoda::tools

#endif  // PAGODA_TOOLS_PAGODA_MEASURE_H_
