// What is said of a planned step. Needs no GPU.
#include "cuda/explain_step.h"

#include <gtest/gtest.h>

#include <string>

#include "cuda/planned_batch.h"

namespace pagoda::cuda {
namespace {

using testing::LengthBatch;
using testing::summary_of;

Explanation explained(const LengthBatch& batch) {
  const StepSummary step = summary_of(batch);
  Explanation explanation;
  explain_step(step, step_time(batch.params, step, 128), &explanation);
  return explanation;
}

TEST(ExplainStep, SaysWhatAMixedBatchIs) {
  const LengthBatch batch({{63, 1, 4096}, {1, 1985, 1985}});
  const Explanation said = explained(batch);
  EXPECT_EQ(said.text,
            "few rows: 63 sequences, 63 row tiles of up to 64 rows, 504 units of a row tile and a "
            "KV head\n"
            "few rows plan: shares for 174 CTAs, 174 busy; 171 units cut, into 2 pieces at most; "
            "longest share costs 12320 keys, a fair one 12166 keys\n"
            "many rows: 1 sequence, 63 row tiles of up to 128 rows, 504 units of a row tile and a "
            "KV head\n"
            "many rows plan: whole units from a queue for 45 CTAs, 45 busy; longest worker costs "
            "16256 keys, a fair one 15944 keys\n"
            "cores: divided between the routes, which run at the same time\n"
            "roof time: 248.4 us on an H200\n"
            "predicted time: 300.8 us on an H200\n");
  EXPECT_EQ(said.num_items, 675 + 504);
  EXPECT_EQ(said.num_splits, 342);
  EXPECT_EQ(said.num_workers, 174 + 45);
  const NeededWork needed = needed_work(batch.params);
  EXPECT_EQ(said.kv_bytes, needed.kv_bytes);
  EXPECT_EQ(said.flops, needed.flops);
  EXPECT_GT(said.predicted_seconds, said.roof_seconds);
}

TEST(ExplainStep, LeavesOutWhatHasNothingToDo) {
  const std::string text = explained(LengthBatch({{2, 512, 512}})).text;
  EXPECT_EQ(text.rfind("many rows: 2 sequences, ", 0), 0u) << text;
  EXPECT_NE(text.find("\ncores: all for many rows, then all for few rows\n"), std::string::npos);
  const std::string alone = explained(LengthBatch({{1, 512, 512}})).text;
  EXPECT_EQ(alone.rfind("all rows: 1 sequence, ", 0), 0u) << alone;
  EXPECT_EQ(alone.find("cores:"), std::string::npos) << alone;
  EXPECT_EQ(explained(LengthBatch({{2, 1, 100}})).text.rfind("all rows: 2 sequences, ", 0), 0u);
}

TEST(ExplainStep, SaysWhatIsConvertedFirst) {
  LengthBatch batch({{1, 2048, 3000}, {1, 100, 9000}});
  EXPECT_EQ(explained(batch).text.find("converted"), std::string::npos);
  const double without = explained(batch).predicted_seconds;
  batch.params.kv.dtype = DType::kFloat8E4M3;
  const Explanation said = explained(batch);
  EXPECT_NE(
      said.text.find("\nconverted first: K and V of 1 sequence, 3072 keys, to 16 bits\nroof time"),
      std::string::npos)
      << said.text;
  EXPECT_GT(said.predicted_seconds, without);
}

}  // namespace
}  // namespace pagoda::cuda
