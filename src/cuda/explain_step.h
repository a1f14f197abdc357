// A planned step in numbers and words.
#ifndef PAGODA_CUDA_EXPLAIN_STEP_H_
#define PAGODA_CUDA_EXPLAIN_STEP_H_

#include "cuda/step_time.h"
#include "cuda/work_summary.h"

namespace pagoda::cuda {

// Fills all but backend and kernel; of `text` what other backends do not say.
void explain_step(const StepSummary& step, const StepTime& time, Explanation* explanation);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_EXPLAIN_STEP_H_
