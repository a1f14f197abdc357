// The prefill kernel: tiles of 128 packed rows, plain logits, interval masks. Persistent CTAs walk
// along their shares as in the attention kernel; one warpgroup fetches, two compute 64 rows each.
// While the tensor cores multiply one tile's weights with V, the same warpgroup's softmax of the
// next tile runs.
#ifndef PAGODA_CUDA_KERNELS_PREFILL_KERNEL_CUH_
#define PAGODA_CUDA_KERNELS_PREFILL_KERNEL_CUH_

#include "cuda/kernels/prefill/fetch.cuh"
#include "cuda/kernels/prefill/math.cuh"
#include "cuda/kernels/warp_row.cuh"

namespace pagoda::cuda {

// Where a group waits for its turn.
PAGODA_DEVICE uint32_t turn_barrier(int group) {
  return 3 + static_cast<uint32_t>(group);
}

// One math warpgroup's work on one piece.
template <class Config>
class PieceRows {
 public:
  // Where the group is in the rings.
  struct Cursors {
    tile::PipelineCursor<Config::kKeyStages> keys;
    tile::PipelineCursor<Config::kValueStages> values;
  };

  PAGODA_DEVICE PieceRows(const AttentionParams& params, const Work& work, const PieceSlot& slot,
                          int group, typename Config::QueryTile& query, PrefillSmem<Config>& smem)
      : params_(params),
        work_(work),
        piece_(slot.piece),
        rows_(slot.rows),
        query_(query),
        smem_(smem),
        group_(group),
        first_row_(group * Config::kGroupRows) {}

  PAGODA_DEVICE void attend(GroupMath<Config>& math, const GroupRows& rows, Cursors& at) {
    if (piece_.kv.empty()) return;
    const int32_t first = piece_.kv.begin / Config::kTileKeys;
    const int32_t end = ceil_div(piece_.kv.end, Config::kTileKeys);
    float rescale[2];

    smem_.key_ring.wait(at.keys);
    take_turn();
    math.begin_scores(query_, first_row_, smem_.keys[at.keys.stage]);
    pass_turn();
    sm90::wgmma_wait<0>();
    math.pin_scores();
    release(smem_.key_ring, at.keys);
    finish_scores(math, rows, first, rescale);
    math.pack_weights();
#pragma unroll 1
    for (int32_t tile = first + 1; tile < end; ++tile) {
      smem_.key_ring.wait(at.keys);
      smem_.value_ring.wait(at.values);
      take_turn();
      math.pin_out();
      math.begin_scores(query_, first_row_, smem_.keys[at.keys.stage]);
      const bool pending = add_values(math, rows, tile - 1, smem_.values[at.values.stage]);
      pass_turn();
      if (pending) {
        sm90::wgmma_wait<1>();
      } else {
        sm90::wgmma_wait<0>();
      }
      math.pin_scores();
      release(smem_.key_ring, at.keys);
      finish_scores(math, rows, tile, rescale);
      sm90::wgmma_wait<0>();
      math.pin_out();
      release(smem_.value_ring, at.values);
      math.rescale_out(rescale);
      math.pack_weights();
    }
    smem_.value_ring.wait(at.values);
    take_turn();
    math.pin_out();
    add_values(math, rows, end - 1, smem_.values[at.values.stage]);
    pass_turn();
    sm90::wgmma_wait<0>();
    math.pin_out();
    release(smem_.value_ring, at.values);
  }

  // Leaves the rows where they belong; `query` may be overwritten.
  PAGODA_DEVICE void emit(GroupMath<Config>& math) {
    const int thread = static_cast<int>(threadIdx.x % 128);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const SoftmaxState state = math.state(i);
      const int row = first_row_ + thread / 32 * 16 + thread % 32 / 4 + 8 * i;
      if (row >= rows_.num_rows) continue;
      if (piece_.first_worker >= 0) {
        store_partial(math, i, row, state);
      } else {
        const float factor =
            finish_row(params_, rows_, piece_.kv_head, row, state, thread % 4 == 0);
        math.out.scale_row(i, factor);
      }
    }
    if (piece_.first_worker < 0) store_output(math);
  }

 private:
  // The groups' products take turns, so that one group's softmax runs beside the other's products
  // instead of both beside none. Both groups take the same number of turns in every piece.
  PAGODA_DEVICE void take_turn() const {
    sm90::named_barrier_sync(turn_barrier(group_), 128 * Config::kMathGroups);
  }
  PAGODA_DEVICE void pass_turn() const {
    sm90::named_barrier_arrive(turn_barrier(1 - group_), 128 * Config::kMathGroups);
  }

  PAGODA_DEVICE uint32_t group_barrier() const {
    return 1 + static_cast<uint32_t>(group_);
  }

  template <int kStages>
  PAGODA_DEVICE static void release(tile::Pipeline<kStages>& ring,
                                    tile::PipelineCursor<kStages>& cursor) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) ring.release(cursor);
    cursor.advance();
  }

  PAGODA_DEVICE static KvRange keys_of(int32_t tile) {
    return {tile * Config::kTileKeys, (tile + 1) * Config::kTileKeys};
  }

  PAGODA_DEVICE void finish_scores(GroupMath<Config>& math, const GroupRows& rows, int32_t tile,
                                   float (&rescale)[2]) {
    if (!rows.unmasked.contains(keys_of(tile))) math.hide(rows, tile * Config::kTileKeys);
    math.soften(rescale);
  }

  // Begins to add a tile's weighted values; false if that is done already.
  PAGODA_DEVICE bool add_values(GroupMath<Config>& math, const GroupRows& rows, int32_t tile,
                                const typename Config::KeyTile& values) {
    const KvRange keys = keys_of(tile);
    if (!rows.unmasked.contains(keys) && !hidden_are_finite(rows.unmasked, keys, values)) {
      sm90::wgmma_wait<0>();
      math.pin_out();
      math.add_values_singly(values, rows, keys.begin);
      return false;
    }
    math.begin_values(values);
    return true;
  }

  // Are the values finite of all the tile's keys that some row may not see?
  PAGODA_DEVICE bool hidden_are_finite(KvRange unmasked, KvRange keys,
                                       const typename Config::KeyTile& values) const {
    if (unmasked.empty()) unmasked = {keys.end, keys.end};
    const int before = clamp_to(unmasked.begin - keys.begin, 0, Config::kTileKeys);
    const int behind = clamp_to(unmasked.end - keys.begin, before, Config::kTileKeys);
    const bool finite = GroupMath<Config>::all_finite(values, 0, before) &&
                        GroupMath<Config>::all_finite(values, behind, Config::kTileKeys);
    return sm90::named_barrier_all(group_barrier(), 128, finite);
  }

  PAGODA_DEVICE void store_partial(const GroupMath<Config>& math, int slot, int row,
                                   SoftmaxState state) {
    const PartialPlaces places{piece_.first_worker, Config::kTileRows, work_.cells_per_share};
    const int64_t to = places.row(piece_.index) + row;
    if (threadIdx.x % 4 == 0) work_.partials.state[to] = state;
    float* out = work_.partials.out + to * Config::kHeadDim + 2 * (threadIdx.x % 4);
#pragma unroll
    for (int i = 0; i < math.out.kSize; i += 2) {
      if (math.out.row_slot(i) != slot) continue;
      *reinterpret_cast<float2*>(out + 8 * (i >> 2)) =
          make_float2(math.out.at[i], math.out.at[i + 1]);
    }
  }

  // Through the group's rows of the query tile, so that whole rows go out.
  PAGODA_DEVICE void store_output(const GroupMath<Config>& math) {
    const int thread = static_cast<int>(threadIdx.x % 128);
    const int lane = thread % 32;
    const bool to_bf16 = params_.out.dtype == DType::kBFloat16;
    // Matrices of 8 x 8: rows 0-7 and 8-15 of the warp's 16, of two groups of 8 columns.
    const int row = first_row_ + thread / 32 * 16 + lane % 16;
#pragma unroll
    for (int c = 0; c < Config::kHeadDim; c += 16) {
      uint32_t packed[4];
      if (to_bf16) {
        math.out.template to_a_operand<BFloat16>(c / 16, packed);
      } else {
        math.out.template to_a_operand<Float16>(c / 16, packed);
      }
      sm90::stmatrix_x4(query_.address(row, c + lane / 16 * 8), packed);
    }
    sm90::named_barrier_sync(group_barrier(), 128);
    constexpr int kChunks = Config::kHeadDim / 8;
    auto* out = static_cast<uint16_t*>(params_.out.data);
    for (int i = thread; i < Config::kGroupRows * kChunks; i += 128) {
      const int r = first_row_ + i / kChunks;
      const int column = i % kChunks * 8;
      if (r >= rows_.num_rows || column >= params_.head_dim) continue;
      const int64_t offset = row_offset(params_.out, rows_.first_token + rows_.q_idx(r),
                                        rows_.q_head(piece_.kv_head, r));
      sm90::store_global_16(out + offset + column, sm90::load_shared_16(query_.address(r, column)));
    }
  }

  const AttentionParams& params_;
  const Work& work_;
  const Piece& piece_;
  const ItemRows& rows_;
  typename Config::QueryTile& query_;
  PrefillSmem<Config>& smem_;
  const int group_;
  const int first_row_;
};

template <class Config>
PAGODA_DEVICE void compute_rows(const AttentionParams& params, const Work& work, int group,
                                PrefillSmem<Config>& smem) {
  typename PieceRows<Config>::Cursors tiles;
  // The first turn is group 0's.
  if (group == 1) sm90::named_barrier_arrive(turn_barrier(0), 128 * Config::kMathGroups);
  for_each_piece(smem.pieces, [&](const PieceSlot& slot, auto cursor) {
    sm90::wait(smem.query_full[cursor.stage], cursor.parity);
    GroupMath<Config> math(logit_scale(params, slot.piece.shape.seq, slot.piece.kv_head) * kLog2e);
    const GroupRows rows(slot.rows, group * Config::kGroupRows, slot.piece.kv);
    PieceRows<Config> piece(params, work, slot, group, smem.queries[cursor.stage], smem);
    piece.attend(math, rows, tiles);
    piece.emit(math);
  });
}

template <class Config>
__global__ void __launch_bounds__(Config::kThreads, 1)
    prefill_kernel(const __grid_constant__ AttentionParams params,
                   const __grid_constant__ Work work, const __grid_constant__ KvBoxes boxes) {
  extern __shared__ __align__(1024) uint8_t memory[];
  auto& smem = *reinterpret_cast<PrefillSmem<Config>*>(memory);
  constexpr int kMathWarps = 4 * Config::kMathGroups;
  if (threadIdx.x == 0) {
    smem.key_ring.init(1, kMathWarps);
    smem.value_ring.init(1, kMathWarps);
    smem.pieces.init(32 * (kMathWarps + 1 + Config::kQueryWarps));
    for (sm90::Mbarrier& full : smem.query_full) sm90::init(full, Config::kQueryWarps);
    sm90::fence_mbarrier_init();
    sm90::prefetch_tensor_map(&boxes.k);
    sm90::prefetch_tensor_map(&boxes.v);
  }
  __syncthreads();
  sm90::wait_for_previous_grids();
  sm90::launch_dependent_grids();
  if (threadIdx.x < 128) {
    sm90::lower_registers<72>();
    if (threadIdx.x < 32) {
      fetch_keys<Config>(params, work, boxes, smem);
    } else if (threadIdx.x < 64) {
      fetch_values<Config>(params, boxes, smem);
    } else {
      fetch_queries<Config>(params, static_cast<int>(threadIdx.x) / 32 - 2, smem);
    }
  } else {
    sm90::raise_registers<216>();
    compute_rows<Config>(params, work, static_cast<int>(threadIdx.x) / 128 - 1, smem);
  }
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PREFILL_KERNEL_CUH_
