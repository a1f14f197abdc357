// Words of the C API: codes, element types, devices, tensors, and where a call runs.
#ifndef PAGODA_C_TYPES_H_
#define PAGODA_C_TYPES_H_

#include <stddef.h>
#include <stdint.h>

// Enumerations are passed as int32_t. The values never change.
typedef int32_t PagodaStatus;
enum {
  PAGODA_OK = 0,
  PAGODA_INVALID_ARGUMENT = 1,     // the caller can fix it; nothing was written
  PAGODA_UNSUPPORTED = 2,          // legal, but this build or device has no code for it
  PAGODA_WORKSPACE_TOO_SMALL = 3,  // the message says how many bytes are needed
  PAGODA_INVALID_CONTENTS = 4,     // checked mode: a page id, length or scale is out of range
  PAGODA_DEVICE_ERROR = 5,         // the driver or the device reported an error
  PAGODA_INTERNAL = 6              // a bug in the library, or out of memory
};

typedef int32_t PagodaDType;
enum {
  PAGODA_FLOAT32 = 0,
  PAGODA_FLOAT16 = 1,
  PAGODA_BFLOAT16 = 2,
  PAGODA_FLOAT8_E4M3 = 3,
  PAGODA_FLOAT8_E5M2 = 4,
  PAGODA_INT8 = 5,
  PAGODA_UINT8 = 6,
  PAGODA_INT32 = 7,
  PAGODA_INT64 = 8
};

enum { PAGODA_CPU = 0, PAGODA_CUDA = 1 };                           // PagodaDevice.type
enum { PAGODA_HND = 0, PAGODA_NHD = 1 };                            // layout of pages
enum { PAGODA_LSE_HEADS_TOKENS = 0, PAGODA_LSE_TOKENS_HEADS = 1 };  // lse_layout
enum { PAGODA_SPLIT_BALANCED = 0, PAGODA_SPLIT_FIXED = 1 };         // split_policy
enum { PAGODA_MAX_RANK = 4 };

typedef struct PagodaDevice {
  int32_t type;
  int32_t index;
} PagodaDevice;

// A borrowed, strided tensor; strides count elements. All zero bytes = absent.
typedef struct PagodaTensor {
  void* data;
  PagodaDType dtype;
  PagodaDevice device;
  int32_t rank;
  int64_t shape[PAGODA_MAX_RANK];
  int64_t stride[PAGODA_MAX_RANK];
} PagodaTensor;

// Scratch memory of pagoda_workspace_size() bytes on the device that computes; 64-byte aligned,
// 256 on CUDA.
typedef struct PagodaWorkspace {
  void* data;
  size_t bytes;
} PagodaWorkspace;

// The caller's thread pool: run() calls task(task_context, i, worker) once for each i in
// [0, num_tasks), 0 <= worker < num_workers, and returns when all are done. See types.h.
typedef void (*PagodaParallelTask)(void* task_context, int64_t index, int32_t worker);
typedef struct PagodaParallelFor {
  void (*run)(void* pool, int64_t num_tasks, PagodaParallelTask task, void* task_context);
  void* pool;
  int32_t num_workers;
} PagodaParallelFor;

// Where and how a call runs. Wherever one is taken, NULL stands for one of defaults.
typedef struct PagodaExecution {
  size_t struct_size;
  void* stream;                           // cudaStream_t; unused on the CPU
  const PagodaParallelFor* parallel_for;  // CPU only; NULL = the library's own pool
} PagodaExecution;

#endif  // PAGODA_C_TYPES_H_
