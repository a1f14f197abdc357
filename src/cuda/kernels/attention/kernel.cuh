// The attention kernel: persistent CTAs, each of which walks along its share of the batch. Warps
// that walk, fetch K and fetch V are pieces ahead of the four that compute. Those divide 16-row
// blocks and the keys of every tile among them: with up to 16 rows each takes a quarter of the
// keys, with up to 32 two take 16 rows each and half of the keys, with more each has its own 16
// rows and all keys.
#ifndef PAGODA_CUDA_KERNELS_ATTENTION_KERNEL_CUH_
#define PAGODA_CUDA_KERNELS_ATTENTION_KERNEL_CUH_

#include "cuda/kernels/attention/cells.cuh"
#include "cuda/kernels/attention/config.h"
#include "cuda/kernels/attention/epilogue.cuh"
#include "cuda/kernels/attention/load.cuh"
#include "cuda/kernels/attention/math.cuh"
#include "cuda/kernels/share_walk.cuh"
#include "cuda/sm90/sync.cuh"

namespace pagoda::cuda {

// How the math warps divide a row tile.
struct WarpGrid {
  int row_blocks;
  int key_groups;

  template <class Config>
  PAGODA_DEVICE static WarpGrid of(const Piece& piece) {
    // One arithmetic for every row of a route, however its sequence is cut: batch invariance.
    const int row_blocks = piece.route == Route::kManyRows || piece.num_rows > 32 ? 4
                           : piece.num_rows > Config::kWarpRows                   ? 2
                                                                                  : 1;
    return {row_blocks, Config::kMathWarps / row_blocks};
  }

  PAGODA_DEVICE int row_block(int warp) const { return warp & (row_blocks - 1); }
  PAGODA_DEVICE int key_group(int warp) const { return warp / row_blocks; }
};

// The math warps' work on one piece.
template <class Config>
class PieceMath {
 public:
  using Cursor = tile::PipelineCursor<kStages<Config>>;

  PAGODA_DEVICE PieceMath(const AttentionParams& params, const Work& work, const Piece& piece,
                          const ItemRows& rows, SmemPlan<Config>& smem)
      : params_(params),
        work_(work),
        piece_(piece),
        rows_(rows),
        smem_(smem),
        grid_(WarpGrid::of<Config>(piece)),
        first_row_(grid_.row_block(warp()) * Config::kWarpRows) {}

  // Takes the piece's tiles from the ring, and leaves its rows where they belong.
  PAGODA_DEVICE void run(int32_t log2_box_keys, Cursor& cursor) {
    const WarpRows<Config::kPlain> warp_rows(params_, rows_, piece_.kv_head, first_row_);
    WarpMath<Config> math(params_, rows_, warp_rows,
                          logit_scale(params_, piece_.shape.seq, piece_.kv_head), log2_box_keys);
    if constexpr (Config::kQueryInRegisters) {
      math.take_query(piece_.kv_head, first_row_);
    } else {
      sync_math_warps<Config>();  // nobody reads the former rows
      if constexpr (Config::kKv8Bit) {
        load_query_as_f16<Config>(params_, rows_, piece_.kv_head, smem_.query, smem_.query_unit);
      } else {
        load_query<Config>(params_, rows_, piece_.kv_head, smem_.query);
      }
      sync_math_warps<Config>();
      math.take_query(smem_, first_row_);
    }
    for_each_cell(params_, piece_, [&](int32_t cell, KvRange kv) {
      attend(math, warp_rows.active, kv, cursor);
      emit(math, cell, kv, cursor.stage);
      if (!kv.empty()) release_last_stage(cursor);
    });
  }

 private:
  PAGODA_DEVICE static int warp() { return static_cast<int>(threadIdx.x / 32); }

  // Leaves the cursor on the last tile's stage, which is not released yet.
  PAGODA_DEVICE void attend(WarpMath<Config>& math, bool active, KvRange kv, Cursor& cursor) {
    math.start();
    if (kv.empty()) return;
    const int32_t first_tile = kv.begin / Config::kTileKeys;
    const int32_t end_tile = ceil_div(kv.end, Config::kTileKeys);
    for (int32_t tile = first_tile; tile < end_tile; ++tile) {
      if (tile > first_tile) release(cursor);
      smem_.tiles.wait(cursor);
      if (!active) continue;
#pragma unroll 1
      for (int chunk = grid_.key_group(warp()); chunk < Config::kTileKeys / Config::kChunkKeys;
           chunk += grid_.key_groups) {
        const int row = chunk * Config::kChunkKeys;
        math.attend(smem_, cursor.stage, row, tile * Config::kTileKeys + row, kv);
      }
    }
  }

  PAGODA_DEVICE void release(Cursor& cursor) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) smem_.tiles.release(cursor);
    cursor.advance();
  }

  // After rows met there: what they wrote must not overtake the copies to come.
  PAGODA_DEVICE void release_last_stage(Cursor& cursor) {
    sm90::fence_smem_for_async_proxy();
    release(cursor);
  }

  // The rows of what attend() did, joined over the warps that had their keys, to the output or to
  // where they meet the unit's other keys. Row warp() + 4 * i is the warp's i-th, and lane i's.
  PAGODA_DEVICE void emit(const WarpMath<Config>& math, int32_t cell, KvRange kv, int stage) {
    constexpr int kStep = Config::kMathWarps;
    auto* exchange = reinterpret_cast<float*>(&smem_.stages[stage]);
    const int num_groups = kv.empty() ? 0 : grid_.key_groups;
    const int group_rows = grid_.row_blocks * Config::kWarpRows;
    if (num_groups > 0) {
      sync_math_warps<Config>();  // everybody is done with the stage
      math.store(exchange, smem_.state, warp() * Config::kWarpRows, piece_.num_rows - first_row_);
      sync_math_warps<Config>();
    }
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int lane_row = min_of(warp() + kStep * lane, kTileRows - 1);
    const bool lane_has_row = lane_row < piece_.num_rows && lane < kTileRows / kStep;
    const ExchangedState exchanged(smem_.state + lane_row, lane_has_row ? num_groups : 0,
                                   group_rows);

    const bool partial = piece_.first_worker >= 0;
    const bool last = kv.end >= piece_.kv.end;
    const Rows to = partial ? work_.partials : work_.totals;
    const int64_t to_row =
        partial ? places().row(first_block() + cell) : int64_t{blockIdx.x} * kTileRows;
    SoftmaxState state = exchanged.joined;
    SoftmaxJoin joined{};
    joined.b_factor = 1.0f;
    const bool continues = !partial && cell > 0;
    if (continues && lane_has_row) {
      joined = join(to.state[to_row + lane_row], state);
      state = joined.joined;
    }
    float factor = 0.0f;
    if (lane_has_row) {
      if (partial || !last) {
        to.state[to_row + lane_row] = state;
      } else {
        factor = finish_row(params_, rows_, piece_.kv_head, lane_row, state, true);
      }
    }

    for (int row = warp(), i = 0; row < piece_.num_rows; row += kStep, ++i) {
      WarpRow<Config::kHeadDim> total;
#pragma unroll
      for (int g = 0; g < Config::kMathWarps; ++g) {
        if (g >= num_groups) break;
        add_exchanged<Config>(exchange, g * group_rows + row, from_lane(exchanged.weight[g], i),
                              total);
      }
      float* to_out = to.out + (to_row + row) * Config::kHeadDim;
      if (continues) {
        WarpRow<Config::kHeadDim> earlier;
        earlier.load_global(to_out);
        earlier.scale_and_add(from_lane(joined.a_factor, i), total, from_lane(joined.b_factor, i));
        total = earlier;
      }
      if (partial || !last) {
        total.store(to_out);
      } else {
        total.store_output(params_, rows_, piece_.kv_head, row, from_lane(factor, i));
      }
    }
  }

  PAGODA_DEVICE PartialPlaces places() const {
    return {piece_.first_worker, kTileRows, work_.cells_per_share};
  }

  // The number of the piece's first block of partial results.
  PAGODA_DEVICE int32_t first_block() const {
    return has_cells(params_) ? piece_.num_cells_before : piece_.index;
  }

  const AttentionParams& params_;
  const Work& work_;
  const Piece& piece_;
  const ItemRows& rows_;
  SmemPlan<Config>& smem_;
  const WarpGrid grid_;
  const int first_row_;
};

// The walking warp: says what is to be done, piece after piece.
template <class Config>
PAGODA_DEVICE void walk_share(const AttentionParams& params, const Work& work,
                              SmemPlan<Config>& smem) {
  PiecePublisher<Config::kPieces> publisher(smem.pieces);
  for (ShareWalk walk(params, work, static_cast<int32_t>(blockIdx.x)); !walk.done(); walk.next()) {
    publisher.publish(params, walk.piece());
  }
  publisher.finish();
}

// A fetching warp: brings the pieces' keys, or values.
template <class Config>
PAGODA_DEVICE void fetch_pieces(const AttentionParams& params, const KvBoxes& boxes, bool is_v,
                                SmemPlan<Config>& smem) {
  KvFetcher<Config> fetcher(params, boxes, is_v, smem);
  for_each_piece(smem.pieces, [&](const PieceSlot& slot, auto) {
    for_each_cell(params, slot.piece, [&](int32_t, KvRange kv) { fetcher.fetch(slot.piece, kv); });
  });
}

template <class Config>
PAGODA_DEVICE void compute_pieces(const AttentionParams& params, const Work& work,
                                  int32_t log2_box_keys, SmemPlan<Config>& smem) {
  tile::PipelineCursor<kStages<Config>> tiles;
  for_each_piece(smem.pieces, [&](const PieceSlot& slot, auto) {
    PieceMath<Config>(params, work, slot.piece, slot.rows, smem).run(log2_box_keys, tiles);
  });
}

template <class Config>
__global__ void __launch_bounds__(Config::kThreads, Config::kCtasPerSm)
    attention_kernel(const __grid_constant__ AttentionParams params,
                     const __grid_constant__ Work work, const __grid_constant__ KvBoxes boxes) {
  static_assert(kFits<Config>);
  extern __shared__ __align__(1024) uint8_t memory[];
  auto& smem = *reinterpret_cast<SmemPlan<Config>*>(memory);
  if (threadIdx.x == 0) {
    // With token scales every lane of a fetching warp arrives behind its copies of them.
    const bool has_scales = Config::kTokenScales && has_token_scales(params.kv);
    constexpr uint32_t kFetchWarps = 2;
    smem.tiles.init(kFetchWarps * (has_scales ? 1 + 32 : 1), Config::kMathWarps);
    smem.pieces.init(Config::kMathThreads + 32 * kFetchWarps);
    sm90::prefetch_tensor_map(&boxes.k);
    sm90::prefetch_tensor_map(&boxes.v);
  }
  __syncthreads();
  // Beside another kernel: that one waited for what both read.
  if (!work.runs_beside) sm90::wait_for_previous_grids();
  sm90::launch_dependent_grids();
  if (threadIdx.x >= Config::kMathThreads) {
    sm90::lower_registers<Config::kFetchRegisters>();
    const int role = (static_cast<int>(threadIdx.x) - Config::kMathThreads) / 32;
    if (role == 0) {
      walk_share<Config>(params, work, smem);
    } else if (role <= 2) {
      fetch_pieces<Config>(params, boxes, role == 2, smem);
    }
  } else {
    sm90::raise_registers<Config::kMathRegisters>();
    compute_pieces<Config>(params, work, boxes.log2_keys, smem);
  }
  // One CTA keeps the grid from ending before that kernel; the others leave their SMs to it and to
  // the next.
  if (work.runs_beside && blockIdx.x == 0) sm90::wait_for_previous_grids();
}

}  // namespace pagoda::cuda

#endif  // PAGODA_CUDA_KERNELS_ATTENTION_KERNEL_CUH_
