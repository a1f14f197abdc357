// Number formats by their definitions, one value at a time; written apart from src/ on purpose.
#ifndef PAGODA_TESTS_ORACLE_FORMATS_H_
#define PAGODA_TESTS_ORACLE_FORMATS_H_

#include "pagoda/types.h"

namespace pagoda::testing {

// The value of one element of `dtype`.
double decode(DType dtype, const void* element);

// Stores `value`, rounded to nearest even. fp8 and int8 saturate; int8 has no NaN and stores 0.
void encode(DType dtype, double value, void* element);

// decode(encode(value)).
double round_to(DType dtype, double value);

// The largest finite value of `dtype`.
double max_finite(DType dtype);

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_ORACLE_FORMATS_H_
