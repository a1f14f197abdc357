// The sizes of an attention problem: what all its other arguments have to fit.
#ifndef PAGODA_CORE_GEOMETRY_CHECKS_H_
#define PAGODA_CORE_GEOMETRY_CHECKS_H_

#include "core/attention_params.h"
#include "core/checks.h"
#include "core/validate.h"

namespace pagoda {

// q decides where a problem is computed.
Place place_of(const AttentionProblem& problem);

Status check_heads(int64_t num_q_heads, int64_t num_kv_heads, int64_t head_dim);
Status check_head_dim(int64_t head_dim);

// Packed rows, one per token and query head of a group, are numbered by int32.
Status check_num_tokens(const char* name, int64_t num_tokens, int64_t group);

// Checks and lays out q, pages, page table and lengths.
Status lay_out_geometry(const AttentionProblem& problem, ProblemUse use, AttentionParams* params);

// The same for out, lse and scales, whose sizes the geometry gives; and that out and lse lie apart
// from what is read.
Status lay_out_out(const AttentionProblem& problem, ProblemUse use, AttentionParams* params);
Status lay_out_lse(const AttentionProblem& problem, AttentionParams* params);
Status check_outputs_apart(const AttentionProblem& problem, ProblemUse use);
Status lay_out_scales(const AttentionProblem& problem, ProblemUse use, AttentionParams* params);

}  // namespace pagoda

#endif  // PAGODA_CORE_GEOMETRY_CHECKS_H_
