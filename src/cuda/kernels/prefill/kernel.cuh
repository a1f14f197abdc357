// The prefill kernel: tiles of 128 packed rows, plain logits, interval masks. Persistent CTAs walk
// along their shares as in the attention kernel; one warpgroup fetches, two compute 64 rows each.
// While the tensor cores multiply one tile's weights with V, the same warpgroup's softmax of the
// next tile runs.
#ifndef PAGODA_CUDA_KERNELS_PREFILL_KERNEL_CUH_
#define PAGODA_CUDA_KERNELS_PREFILL_KERNEL_CUH_

#include "cuda/kernels/prefill/convert.cuh"
#include "cuda/kernels/prefill/fetch.cuh"
#include "cuda/kernels/prefill/math.cuh"
#include "cuda/kernels/warp_row.cuh"

namespace pagoda::cuda {

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

  PAGODA_DEVICE void attend(GroupMath<Config>& math, Cursors& at) {
    if (piece_.kv.empty()) return;
    const int32_t first = piece_.kv.begin / Config::kTileKeys;
    const int32_t end = ceil_div(piece_.kv.end, Config::kTileKeys);
    const sm90::WgmmaDesc query = query_.k_major(first_row_, 0).uniform();

    smem_.key_ring.wait(at.keys);
    const sm90::WgmmaDesc first_keys = keys_at(at);
    math.begin_scores(query, first_keys);
    // Beside the product.
    GroupRows rows(rows_, first_row_, piece_.kv);
    if constexpr (Config::kRegistersAreFew) sm90::keep_in_memory(rows);  // seldom needed
    // Tiles that all rows see whole.
    const KvRange whole = {ceil_div(rows.unmasked.begin, Config::kTileKeys),
                           rows.unmasked.end / Config::kTileKeys};
    bool hides = first < whole.begin || first >= whole.end;
    sm90::wgmma_wait<0>();
    take_scores(math, at);
    Ahead ahead{};
    weigh(math, rows, first, hides, at, ahead, [](auto&&) {});
#pragma unroll 1
    for (int32_t tile = first + 1; tile < end; ++tile) {
      smem_.key_ring.wait_unless(ahead.keys, at.keys);
      smem_.value_ring.wait_unless(ahead.values, at.values);
      const sm90::WgmmaDesc keys = keys_at(at);
      const sm90::WgmmaDesc values = values_at(at);
      math.pin_out();
      math.begin_scores(query, keys);
      add_values(math, rows, tile - 1, hides, values, at);
      hides = tile < whole.begin || tile >= whole.end;
      sm90::wgmma_wait<1>();
      take_scores(math, at);
      weigh(math, rows, tile, hides, at, ahead, [&](const float(&rescale)[2]) {
        // Not in one place before the branch: the compiler would move the weighing behind it. All
        // of the group takes the same way, as waits must; the first maxima are all but sure to
        // grow.
        if (tile == first + 1) {
          sm90::wgmma_wait<0>();
          math.pin_out();
          math.rescale_out(rescale);
        } else {
          sm90::wgmma_wait<0>();
          math.pin_out();
          if (math.any_grew(rescale)) math.rescale_out(rescale);
        }
        release(smem_.value_ring, at.values);
      });
    }
    smem_.value_ring.wait_unless(ahead.values, at.values);
    const sm90::WgmmaDesc values = values_at(at);
    math.pin_out();
    add_values(math, rows, end - 1, hides, values, at);
    sm90::wgmma_wait<0>();
    math.pin_out();
    release(smem_.value_ring, at.values);
  }

  // Leaves the rows where they belong; `query` may be overwritten. Four lanes share two rows: of
  // each pair of lanes one finishes one row, the other the other.
  PAGODA_DEVICE void emit(GroupMath<Config>& math) {
    const int slot = static_cast<int>(threadIdx.x % 2);
    const int row = row_of(slot);
    const bool writes = row < rows_.num_rows && threadIdx.x % 4 < 2;
    const RoundedState rounded = math.state(slot);
    float factor = rounded.factor;
    if (piece_.first_worker < 0) {
      factor *= finish_row(params_, rows_, piece_.kv_head, min_of(row, rows_.num_rows - 1),
                           rounded.state, writes);
    } else if (writes) {
      work_.partials.state[partial_row() + row] = rounded.state;
    }
    const float other = __shfl_xor_sync(0xffffffffu, factor, 1);
    math.out.scale_row(0, slot == 0 ? factor : other);
    math.out.scale_row(1, slot == 0 ? other : factor);
    if (piece_.first_worker >= 0) {
      store_partial(math);
    } else if (params_.out.dtype == DType::kFloat8E4M3) {
      store_e4m3(math);
    } else {
      store_output(math);
    }
  }

 private:
  // Of the piece's; `slot`: which of the thread's two.
  PAGODA_DEVICE int row_of(int slot) const {
    const int thread = static_cast<int>(threadIdx.x % 128);
    return first_row_ + thread / 32 * 16 + thread % 32 / 4 + 8 * slot;
  }

  PAGODA_DEVICE uint32_t group_barrier() const {
    return 1 + static_cast<uint32_t>(group_);
  }

  template <int kLanes = 1, int kStages>
  PAGODA_DEVICE static void release(tile::Pipeline<kStages>& ring,
                                    tile::PipelineCursor<kStages>& cursor) {
    __syncwarp();
    if (threadIdx.x % 32 < kLanes) ring.release(cursor);
    cursor.advance();
  }

  PAGODA_DEVICE static KvRange keys_of(int32_t tile) {
    return {tile * Config::kTileKeys, (tile + 1) * Config::kTileKeys};
  }

  // What is known of the next tiles before they are needed.
  struct Ahead {
    bool keys;
    bool values;
  };

  PAGODA_DEVICE sm90::WgmmaDesc keys_at(const Cursors& at) const {
    return smem_.keys[at.keys.stage].k_major(0, 0).uniform();
  }
  PAGODA_DEVICE sm90::WgmmaDesc values_at(const Cursors& at) const {
    return smem_.values[at.values.stage].mn_major(0, 0).uniform();
  }

  // The scores are there; their keys may go.
  PAGODA_DEVICE void take_scores(GroupMath<Config>& math, Cursors& at) {
    math.pin_scores();
    if constexpr (Config::kTokenScales) {
      math.scale_scores(smem_.key_scales[at.keys.stage].of);
    }
    release<Config::kKeyReleases>(smem_.key_ring, at.keys);
  }

  // From scores to the weights of the next product with V. The last such product runs beside the
  // first part; settle(rescale) ends it, and then packing hides behind the other part's exp2.
  template <class Settle>
  PAGODA_DEVICE void weigh(GroupMath<Config>& math, const GroupRows& rows, int32_t tile, bool hides,
                           const Cursors& at, Ahead& ahead, Settle&& settle) {
    constexpr int kFirst = Config::kFirstSlices;
    constexpr int kSlices = Config::kTileKeys / 16;
    float rescale[2];
    if constexpr (Config::kSoftCap) math.cap();
    if (hides) math.hide(rows, tile * Config::kTileKeys);
    math.raise_maxima(rescale);
    math.template weigh<0, kFirst>();
    settle(rescale);
    ahead = {smem_.key_ring.is_full(at.keys), smem_.value_ring.is_full(at.values)};
    math.template weigh<kFirst, kSlices>();
    math.template pack_weights<0, kSlices>();
  }

  // Begins to add a tile's weighted values, or, where a hidden one is not finite, adds them at
  // once.
  PAGODA_DEVICE void add_values(GroupMath<Config>& math, const GroupRows& rows, int32_t tile,
                                bool hides, const sm90::WgmmaDesc& values, const Cursors& at) {
    const auto& value_tile = smem_.values[at.values.stage];
    if (hides && !hidden_are_finite(rows.unmasked, keys_of(tile), value_tile)) {
      sm90::wgmma_wait<0>();
      math.pin_out();
      math.add_values_singly(value_tile, rows, tile * Config::kTileKeys);
      // The stage's next contents come by plain stores: as kKvArrivals.
      if constexpr (Config::kKv8Bit) sm90::named_barrier_sync(group_barrier(), 128);
    } else {
      math.begin_values(values);
    }
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

  // Where the piece's first row lies among the partial results.
  PAGODA_DEVICE int64_t partial_row() const {
    return PartialPlaces{piece_.first_worker, Config::kTileRows, work_.cells_per_share}.row(
        piece_.index);
  }

  PAGODA_DEVICE void store_partial(const GroupMath<Config>& math) {
#pragma unroll
    for (int slot = 0; slot < 2; ++slot) {
      if (row_of(slot) >= rows_.num_rows) continue;
      float* out = work_.partials.out + (partial_row() + row_of(slot)) * Config::kHeadDim +
                   2 * (threadIdx.x % 4);
#pragma unroll
      for (int i = 0; i < math.out.kSize; i += 2) {
        if (math.out.row_slot(i) != slot) continue;
        *reinterpret_cast<float2*>(out + 8 * (i >> 2)) =
            make_float2(math.out.at[i], math.out.at[i + 1]);
      }
    }
  }

  PAGODA_DEVICE void store_e4m3(const GroupMath<Config>& math) const {
#pragma unroll
    for (int slot = 0; slot < 2; ++slot) {
      const int row = row_of(slot);
      if (row >= rows_.num_rows) continue;
      auto* out = static_cast<uint8_t*>(params_.out.data) +
                  row_offset(params_.out, rows_.first_token + rows_.q_idx(row),
                             rows_.q_head(piece_.kv_head, row));
#pragma unroll
      for (int i = 0; i < math.out.kSize; i += 2) {
        const int column = 8 * (i >> 2) + 2 * static_cast<int>(threadIdx.x % 4);
        if (math.out.row_slot(i) != slot || column >= params_.head_dim) continue;
        *reinterpret_cast<uint16_t*>(out + column) =
            sm90::pack_e4m3x2(math.out.at[i], math.out.at[i + 1]);
      }
    }
  }

  // Through the query tile, so that whole rows go out; a warp's own rows, so that it waits for
  // none.
  PAGODA_DEVICE void store_output(const GroupMath<Config>& math) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int warp_row = first_row_ + static_cast<int>(threadIdx.x % 128) / 32 * 16;
    const bool to_bf16 = params_.out.dtype == DType::kBFloat16;
    // Matrices of 8 x 8: rows 0-7 and 8-15 of the warp's 16, of two groups of 8 columns.
#pragma unroll
    for (int c = 0; c < Config::kHeadDim; c += 16) {
      uint32_t packed[4];
      if (to_bf16) {
        math.out.template to_a_operand<BFloat16>(c / 16, packed);
      } else {
        math.out.template to_a_operand<Float16>(c / 16, packed);
      }
      sm90::stmatrix_x4(query_.address(warp_row + lane % 16, c + lane / 16 * 8), packed);
    }
    __syncwarp();
    // Where row lane % 16 of the warp's goes; -1: nowhere.
    const int own_row = warp_row + lane % 16;
    const int64_t offset = own_row < rows_.num_rows
                               ? row_offset(params_.out, rows_.first_token + rows_.q_idx(own_row),
                                            rows_.q_head(piece_.kv_head, own_row))
                               : -1;
    // All of one kind first: each would wait for the one before it.
    constexpr int kChunks = Config::kHeadDim / 8;
    constexpr int kRowsAtOnce = 32 / kChunks;
    constexpr int kSteps = 16 / kRowsAtOnce;
    const int column = lane % kChunks * 8;
    uint4 bits[kSteps];
    int64_t to[kSteps];
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const int row = i * kRowsAtOnce + lane / kChunks;
      bits[i] = sm90::load_shared_16(query_.address(warp_row + row, column));
      to[i] = __shfl_sync(0xffffffffu, offset, row);
    }
    auto* out = static_cast<uint16_t*>(params_.out.data) + column;
    const bool has_column = column < params_.head_dim;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      if (has_column && to[i] >= 0) sm90::store_global_16(out + to[i], bits[i]);
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
  for_each_piece(smem.pieces, [&](const PieceSlot& slot, const auto& cursor) {
    if constexpr (Config::kRegistersAreFew) sm90::keep_in_memory(cursor);
    const typename Config::QueryCursor query_at = Config::query_cursor(cursor);
    smem.query_ring.wait(query_at);
    GroupMath<Config> math(params.score,
                           logit_scale(params, slot.piece.shape.seq, slot.piece.kv_head));
    PieceRows<Config> piece(params, work, slot, group, smem.queries[query_at.stage], smem);
    piece.attend(math, tiles);
    piece.emit(math);
    sm90::fence_smem_for_async_proxy();  // the copy engine may bring the tile's next rows
    smem.query_ring.release(query_at);
  });
}

template <class Config>
__global__ void __launch_bounds__(Config::kThreads, 1)
    prefill_kernel(const __grid_constant__ AttentionParams params,
                   const __grid_constant__ Work work, const __grid_constant__ PrefillBoxes boxes) {
  extern __shared__ __align__(1024) uint8_t memory[];
  auto& smem = *reinterpret_cast<PrefillSmem<Config>*>(memory);
  constexpr int kMathWarps = 4 * Config::kMathGroups;
  if (threadIdx.x == 0) {
    smem.key_ring.init(Config::kKvArrivals, Config::kKeyReleases * kMathWarps);
    smem.value_ring.init(Config::kKvArrivals, kMathWarps);
    smem.pieces.init(32 * (kMathWarps + 3));  // and the fetching warps but the one that walks
    smem.query_ring.init(boxes.query.usable ? 1 : 32 * Config::kQueryWarps, 32 * kMathWarps);
    if constexpr (!Config::kKv8Bit) {
      sm90::prefetch_tensor_map(&boxes.kv.k);
      sm90::prefetch_tensor_map(&boxes.kv.v);
      sm90::prefetch_tensor_map(&boxes.query.map);
    }
  }
  __syncthreads();
  sm90::wait_for_previous_grids();
  sm90::launch_dependent_grids();
  if (threadIdx.x < 128) {
    sm90::lower_registers<Config::kFetchRegisters>();
    if constexpr (Config::kKv8Bit) {
      fetch_and_convert<Config>(params, work, boxes, static_cast<int>(threadIdx.x) / 32, smem);
    } else if (threadIdx.x < 32) {
      fetch_keys<Config>(params, work, boxes.kv, smem);
    } else if (threadIdx.x < 64) {
      fetch_values<Config>(params, boxes.kv, smem);
    } else {
      fetch_queries<Config>(params, boxes.query, static_cast<int>(threadIdx.x) / 32 - 2, smem);
    }
  } else {
    sm90::raise_registers<Config::kMathRegisters>();
    compute_rows<Config>(params, work, static_cast<int>(threadIdx.x) / 128 - 1, smem);
  }
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_PREFILL_KERNEL_CUH_
