// The roof and the model of time against what was measured on an H200. Needs no GPU.
#include "cuda/step_time.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <vector>

#include "cuda/planned_batch.h"

namespace pagoda::cuda {
namespace {

using testing::LengthBatch;
using testing::SameSequences;
using testing::summary_of;

// A row of docs/performance_gpu.md.
struct Row {
  const char* name;
  std::vector<SameSequences> sequences;
  double measured_us;
  double percent_of_roof;
  int32_t num_q_heads = 32;
  int32_t num_kv_heads = 8;
  int32_t head_dim = 128;
  int32_t window_left = -1;
  float soft_cap = 0.0f;
  DType kv_dtype = DType::kBFloat16;
};
constexpr DType kE4M3 = DType::kFloat8E4M3;

const Row kRows[] = {
    {"decode 1 x 8k", {{1, 1, 8192}}, 18.0, 50},
    {"decode 1 x 128k", {{1, 1, 131072}}, 131.1, 93},
    {"decode 8 x 8k", {{8, 1, 8192}}, 71.2, 87},
    {"decode 64 x 4k", {{64, 1, 4096}}, 249.6, 97},
    {"decode 256 x 1k", {{256, 1, 1024}}, 254.2, 96},
    {"decode 64 x 4k, 8/1 heads", {{64, 1, 4096}}, 42.4, 75, 8, 1},
    {"decode 8 x 16k, 8/1 heads", {{8, 1, 16384}}, 26.2, 63, 8, 1},
    {"decode 32 x 2k, 32/32 heads", {{32, 1, 2048}}, 251.4, 97, 32, 32},
    {"decode 64 x 4k, 28/4 heads", {{64, 1, 4096}}, 128.7, 95, 28, 4},
    {"verify 4 tokens, 64 x 4k", {{64, 4, 4096}}, 255.6, 95},
    {"verify 8 tokens, 32 x 8k", {{32, 8, 8192}}, 261.0, 93},
    {"decode 64 x 32k, window 4096", {{64, 1, 32768}}, 252.9, 96, 32, 8, 128, 4095},
    {"prefill 1 x 512", {{1, 512, 512}}, 15.2, 29},
    {"prefill 1 x 2k", {{1, 2048, 2048}}, 72.4, 66},
    {"prefill 1 x 8k", {{1, 8192, 8192}}, 977.8, 76},
    {"prefill 4 x 4k", {{4, 4096, 4096}}, 1050.8, 71},
    {"prefill 1 x 32k", {{1, 32768, 32768}}, 14710, 81},
    {"2k of 32k", {{1, 2048, 32768}}, 1799.1, 80},
    {"256 of 32k, 16/2 heads", {{1, 256, 32768}}, 132.1, 71, 16, 2},
    {"256 of 32k, 8/1 heads", {{1, 256, 32768}}, 75.1, 64, 8, 1},
    {"prefill 8k, window 1024", {{1, 8192, 8192}}, 269.6, 65, 32, 8, 128, 1023},
    {"prefill 8k, head_dim 64", {{1, 8192, 8192}}, 695.2, 54, 32, 8, 64},
    {"prefill 8k, head_dim 256, 16/8 heads", {{1, 8192, 8192}}, 882.1, 84, 16, 8, 256},
    {"prefill 8k, soft cap", {{1, 8192, 8192}}, 1600.4, 47, 32, 8, 128, -1, 50.0f},
    {"prefill 8k, head_dim 256, soft cap", {{1, 8192, 8192}}, 1176.6, 63, 16, 8, 256, -1, 50.0f},
    {"2k prefill + 63 decodes of 4k", {{63, 1, 4096}, {1, 1985, 1985}}, 301.4, 82},
    {"prefill 1 x 2k, e4m3", {{1, 2048, 2048}}, 90.3, 53, 32, 8, 128, -1, 0.0f, kE4M3},
    {"prefill 1 x 8k, e4m3", {{1, 8192, 8192}}, 938.2, 79, 32, 8, 128, -1, 0.0f, kE4M3},
    {"prefill 4 x 4k, e4m3", {{4, 4096, 4096}}, 1036.3, 72, 32, 8, 128, -1, 0.0f, kE4M3},
    {"prefill 1 x 32k, e4m3", {{1, 32768, 32768}}, 13713, 87, 32, 8, 128, -1, 0.0f, kE4M3},
    {"2k of 32k, e4m3", {{1, 2048, 32768}}, 1689, 85, 32, 8, 128, -1, 0.0f, kE4M3},
};

TEST(StepTime, RoofIsTheDocumentsAndPredictionsAreNear) {
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.name);
    LengthBatch batch(row.sequences);
    batch.set_heads(row.num_q_heads, row.num_kv_heads, row.head_dim);
    batch.params.mask.window_left = row.window_left;
    batch.params.score.logits_soft_cap = row.soft_cap;
    batch.params.kv.dtype = row.kv_dtype;
    const StepTime time = step_time(batch.params, summary_of(batch), row.head_dim);
    const double roof_us = time.roof_seconds * 1e6;
    const double predicted_us = time.predicted_seconds * 1e6;
    std::printf("%-36s roof %8.1f us, predicted %8.1f, measured %8.1f: %+.0f %%\n", row.name,
                roof_us, predicted_us, row.measured_us,
                100.0 * (predicted_us / row.measured_us - 1.0));
    EXPECT_NEAR(100.0 * roof_us / row.measured_us, row.percent_of_roof, 0.7);
    EXPECT_NEAR(predicted_us, row.measured_us, 0.15 * row.measured_us);
    EXPECT_GT(predicted_us, roof_us);
  }
}

TEST(StepTime, EightBitsReadLessAndConvert) {
  LengthBatch decode({{64, 1, 4096}});
  const StepSummary step = summary_of(decode);
  const double bf16 = step_time(decode.params, step, 128).predicted_seconds;
  decode.params.kv.dtype = DType::kFloat8E4M3;
  EXPECT_NEAR(step_time(decode.params, step, 128).predicted_seconds / bf16, 0.57, 0.03);
  float scale = 1.0f;
  decode.params.kv.dtype = DType::kInt8;
  decode.params.kv.k_token_scale.data = &scale;
  EXPECT_NEAR(step_time(decode.params, step, 128).predicted_seconds / bf16, 0.69, 0.03);
}

TEST(StepTime, AStepWithoutWorkTakesNone) {
  const LengthBatch batch({{3, 0, 70}});
  const StepTime time = step_time(batch.params, summary_of(batch), 128);
  EXPECT_EQ(time.roof_seconds, 0.0);
  EXPECT_EQ(time.predicted_seconds, 0.0);
}

}  // namespace
}  // namespace pagoda::cuda
