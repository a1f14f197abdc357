// How the copy engine reads Q for tiles of packed rows.
#ifndef PAGODA_CUDA_QUERY_BOXES_H_
#define PAGODA_CUDA_QUERY_BOXES_H_

#include "core/attention_params.h"
#include "cuda/kv_boxes.h"
#include "cuda/tensor_map.h"

namespace pagoda::cuda {

// A tile's packed rows are the heads of one KV head of one token after the other: a box for each
// panel of 128 bytes, if a whole number of tokens fills the tile.
struct QueryBoxes {
  TensorMap map;  // dimensions: column, head, token
  int32_t usable;
};

// What a prefill kernel reads by the copy engine.
struct PrefillBoxes {
  KvBoxes kv;
  QueryBoxes query;
};

QueryBoxes make_query_boxes(const AttentionParams& params, int32_t tile_rows);

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_QUERY_BOXES_H_
