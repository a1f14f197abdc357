// The first CTAs write K, as many others V, and the rest rotate q. Where there are many rows, the
// lanes of one take more heads of its token: slot and angles are theirs too.
#include "cuda/kernels/cache/write_kv_cache.h"

#include "core/paged_kv.h"
#include "cuda/kernels/cache/row.cuh"
#include "cuda/kernels/cache/unit_rotation.cuh"
#include "cuda/kernels/launch.h"
#include "cuda/sm90/sync.cuh"
#include "semantics/divisor.h"
#include "semantics/quant.h"

namespace pagoda::cuda {
namespace {

struct HeadLanes {
  RowLanes rows;
  int32_t heads;       // for the lanes of a row
  uint32_t per_token;  // rows
};

struct WriteLanes {
  HeadLanes kv;  // of K, and of V
  HeadLanes q;
};

// What a thread knows of its token and head.
struct WritePlace {
  int32_t token;
  int32_t head;
  TokenSlot slot;
  int64_t position;
};

PAGODA_DEVICE int64_t position_of(const RopeParams& rope, int32_t token) {
  return rope.positions[token * rope.positions_stride];
}

template <class T>
PAGODA_DEVICE Row<T> new_row(const RowsParams& rows, int32_t token, int32_t head) {
  return {rows.data, rows.dtype, token * rows.token_stride + head * rows.head_stride};
}

// Rare, so that it shall cost no registers: from local memory, one by one.
template <int kChunk>
PAGODA_DEVICE UnitValues<kChunk> divided(UnitValues<kChunk> x, float divisor) {
#pragma unroll 1
  for (int i = 0; i < kChunk; ++i) {
    x.first[i] /= divisor;
    x.second[i] /= divisor;
  }
  return x;
}

// Over the lanes of a row. All lanes of a warp take part.
PAGODA_DEVICE float largest_of_lanes(const RowLanes& lanes, float largest) {
  for (int32_t distance = lanes.lanes() / 2; distance > 0; distance /= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, distance));
  }
  return largest;
}

// A lane's units.
struct LaneUnits {
  RowUnits units;
  RowLanes lanes;
  int32_t first;
  UnitPlace first_place;
};

// What a row is divided by.
struct RowScale {
  Divisor by;
  float largest;  // of the row, if its scale depends on that
};

// Rows of K, which may be rotated, or V: those of a token, head by head.
template <class In, class Out, bool kRotates>
class RowWriter {
 public:
  static constexpr int kChunk = Row<In>::kChunk;

  PAGODA_DEVICE RowWriter(const WriteSide& side, const WriteParams& params, const LaneUnits& mine,
                          const WritePlace& place)
      : side_(side),
        params_(params),
        mine_(mine),
        place_(place),
        out_(side.pages.data, params.pages_dtype, row_offset(side.pages, place.slot, place.head)),
        tensor_scale_(tensor_scale()),
        token_scale_(has_token_scale() ? scale_address(side.token_scale, place.slot, place.head)
                                       : nullptr) {}

  // `first` is in's first unit. All lanes of a warp take part.
  PAGODA_DEVICE void write(const Row<In>& in, const UnitBits<In>& first, bool is_written) const {
    UnitValues<kChunk> x(in, first);
    Rotation(params_.rope, place_.position, mine_.first_place).apply(&x);
    float largest = 0.0f;
    if (has_token_scale()) {
      if (is_written) largest = max_of(x.largest(), largest_of_others(in));
      largest = largest_of_lanes(mine_.lanes, largest);
    }
    if (!is_written) return;
    const RowScale row_scale = scale(largest);
    if (mine_.first_place.has_first) store(first, x, mine_.first_place, row_scale);
    for_each_other(
        in, [&](const UnitPlace& at, const UnitBits<In>& bits, const UnitValues<kChunk>& values) {
          store(bits, values, at, row_scale);
        });
  }

  PAGODA_DEVICE void next_head() {
    ++place_.head;
    out_.advance(side_.pages.head_stride);
    tensor_scale_ = tensor_scale();
    if (has_token_scale()) token_scale_ += side_.token_scale.head_stride;
  }

 private:
  using Rotation = std::conditional_t<kRotates, UnitRotation<kChunk>, NoRotation>;
  static constexpr bool kIsOneType = std::is_same_v<In, Out> && !std::is_same_v<In, AnyType>;

  PAGODA_DEVICE bool has_token_scale() const {
    return !kIsOneType && side_.token_scale.data != nullptr;
  }

  // Loaded before it is needed.
  PAGODA_DEVICE float tensor_scale() const {
    return kIsOneType ? 1.0f : scale_of(side_.scale, 0, place_.head);
  }

  // Of the lane's units, those after the first.
  template <class Use>
  PAGODA_DEVICE void for_each_other(const Row<In>& in, const Use& use) const {
    const RowLanes& lanes = mine_.lanes;
    for (int32_t unit = mine_.first + lanes.lanes(); unit < lanes.num_units;
         unit += lanes.lanes()) {
      const UnitPlace at = unit_place(mine_.units, kChunk, unit);
      const UnitBits<In> bits(in, at);
      UnitValues<kChunk> x(in, bits);
      Rotation(params_.rope, place_.position, at).apply(&x);
      use(at, bits, x);
    }
  }

  PAGODA_DEVICE float largest_of_others(const Row<In>& in) const {
    float result = 0.0f;
    for_each_other(in, [&](const UnitPlace&, const UnitBits<In>&, const UnitValues<kChunk>& x) {
      result = fmaxf(result, x.largest());
    });
    return result;
  }

  // One by token follows from the row's largest magnitude, and is stored by its first lane.
  PAGODA_DEVICE RowScale scale(float row_largest) const {
    if (!has_token_scale()) return {Divisor(tensor_scale_), 0.0f};
    const float scale = token_scale_of(bit_cast<int32_t>(row_largest), params_.pages_dtype);
    if (mine_.first == 0) *token_scale_ = scale;
    return {Divisor(scale), row_largest};
  }

  PAGODA_DEVICE void store(const UnitBits<In>& bits, UnitValues<kChunk> x, const UnitPlace& at,
                           const RowScale& scale) const {
    const bool is_copy = kIsOneType || side_.rows.dtype == params_.pages_dtype;
    if (is_copy && !(kRotates && at.is_rotated)) {
      if constexpr (std::is_same_v<In, Out>) bits.store(out_, at);
      return;
    }
    if constexpr (!kIsOneType) {
      const float largest = has_token_scale() ? scale.largest : x.largest();
      if (scale.by.covers(largest)) {
        x.for_each([&](float value) { return scale.by.quotient(value); });
      } else {
        x = divided(x, scale.by.divisor);
      }
    }
    x.store(out_, at);
  }

  const WriteSide& side_;
  const WriteParams& params_;
  const LaneUnits& mine_;
  WritePlace place_;  // of the row
  Row<Out> out_;
  float tensor_scale_;
  float* token_scale_;
};

// K, which may be rotated, or V.
template <class In, class Out, bool kRotates>
PAGODA_DEVICE void write_side(const WriteSide& side, const WriteParams& params,
                              const HeadLanes& lanes, uint32_t cta) {
  constexpr int kChunk = Row<In>::kChunk;
  const ThreadPlace me(lanes.rows, cta);
  // Lanes behind the last row help with other rows' largest magnitude.
  const uint32_t row = min_of(me.row, lanes.rows.num_rows - 1);
  WritePlace place{.token = static_cast<int32_t>(row / lanes.per_token),
                   .head = static_cast<int32_t>(row % lanes.per_token) * lanes.heads,
                   .slot = {},
                   .position = 0};
  const int64_t slot = params.slots[place.token * params.slots_stride];
  if constexpr (kRotates) place.position = position_of(params.rope, place.token);

  const RowUnits units{params.head_dim, kRotates ? params.rope.rotary_dim : 0,
                       params.rope.interleaved};
  LaneUnits mine{units, lanes.rows, me.unit, unit_place(units, kChunk, me.unit)};
  // The first units are under way before it is known where they go, if anywhere.
  Row<In> in = new_row<In>(side.rows, place.token, place.head);
  UnitBits<In> bits(in, mine.first_place);
  const bool has_slot = me.row < lanes.rows.num_rows && slot >= 0;
  const int32_t num_heads = has_slot ? min_of(lanes.heads, params.num_kv_heads - place.head) : 0;
  place.slot = mapped_slot(slot, params.page_size);
  if (!has_slot) mine.first_place.is_rotated = false;  // its position may be none
  RowWriter<In, Out, kRotates> writer(side, params, mine, place);
  for (int32_t i = 0; i < lanes.heads; ++i) {
    // So are those of the next head.
    Row<In> next_in = in;
    next_in.advance(side.rows.head_stride);
    const UnitBits<In> next(next_in, i + 1 < num_heads ? mine.first_place : UnitPlace{});
    writer.write(in, bits, i < num_heads);
    if (i + 1 < num_heads) writer.next_head();
    in = next_in;
    bits = next;
  }
}

// Two heads are under way at once.
template <class T>
PAGODA_DEVICE void rotate_q(const WriteParams& params, const HeadLanes& lanes, uint32_t cta) {
  constexpr int kChunk = Row<T>::kChunk;
  constexpr int kTogether = 2;
  const ThreadPlace me(lanes.rows, cta);
  if (me.row >= lanes.rows.num_rows) return;
  const auto token = static_cast<int32_t>(me.row / lanes.per_token);
  const int32_t first_head = static_cast<int32_t>(me.row % lanes.per_token) * lanes.heads;
  const int32_t end_head = min_of(first_head + lanes.heads, params.num_q_heads);
  const int64_t position = position_of(params.rope, token);
  const RowUnits units{params.head_dim, params.rope.rotary_dim, params.rope.interleaved};
  // Units do not share elements, so that a row may be rotated where it lies.
  for (int32_t unit = me.unit; unit < lanes.rows.num_units; unit += lanes.rows.lanes()) {
    const UnitPlace at = unit_place(units, kChunk, unit);
    const UnitRotation<kChunk> rotation(params.rope, position, at);
    for (int32_t head = first_head; head < end_head; head += kTogether) {
      const bool has_second = head + 1 < end_head;
      const Row<T> first_row = new_row<T>(params.q, token, head);
      const Row<T> second_row = new_row<T>(params.q, token, head + 1);
      const UnitBits<T> first_bits(first_row, at);
      const UnitBits<T> second_bits(second_row, has_second ? at : UnitPlace{});
      UnitValues<kChunk> first(first_row, first_bits);
      UnitValues<kChunk> second(second_row, second_bits);
      rotation.apply(&first);
      first.store(first_row, at);
      rotation.apply(&second);
      if (has_second) second.store(second_row, at);
    }
  }
}

// On an SM: what leaves each thread registers enough.
template <class In, class Out, bool kHasRope>
constexpr int kMinCtas = std::is_same_v<In, float> ? (kHasRope ? 3 : 6)
                         : !kHasRope               ? 8
                         : std::is_same_v<In, Out> ? 5
                                                   : 3;

template <class In, class Out, bool kHasRope>
__global__ void __launch_bounds__(kCacheThreads, kMinCtas<In, Out, kHasRope>)
    write_kv_cache_kernel(const __grid_constant__ WriteParams params,
                          const __grid_constant__ WriteLanes lanes) {
  sm90::wait_for_previous_grids();
  sm90::launch_dependent_grids();
  const uint32_t kv_ctas = lanes.kv.rows.num_ctas();
  const uint32_t cta = blockIdx.x;
  if (cta < kv_ctas) {
    write_side<In, Out, kHasRope>(params.k, params, lanes.kv, cta);
  } else if (!kHasRope || cta < 2 * kv_ctas) {
    write_side<In, Out, false>(params.v, params, lanes.kv, cta - kv_ctas);
  } else {
    rotate_q<In>(params, lanes.q, cta - 2 * kv_ctas);
  }
}

HeadLanes make_head_lanes(int32_t num_units, int32_t num_tokens, int32_t num_heads,
                          int32_t max_heads) {
  const auto tokens = static_cast<uint32_t>(num_tokens);
  const RowLanes alone = make_row_lanes(num_units, tokens * static_cast<uint32_t>(num_heads));
  const int32_t per_token = ceil_div(num_heads, rows_by_lane(alone, max_heads));
  return {.rows = make_row_lanes(num_units, tokens * static_cast<uint32_t>(per_token)),
          .heads = ceil_div(num_heads, max_of(per_token, 1)),
          .per_token = static_cast<uint32_t>(per_token)};
}

template <class In, class Out, bool kHasRope>
cudaError_t launch_kernel(const WriteParams& params, cudaStream_t stream) {
  constexpr int kChunk = Row<In>::kChunk;
  constexpr bool kIsCopy = std::is_same_v<In, Out> && !kHasRope;
  constexpr int32_t kMaxHeads = kIsCopy ? 2 : 8;  // a copy has little to share
  const RowUnits units{params.head_dim, params.rope.rotary_dim, params.rope.interleaved};
  const WriteLanes lanes{
      .kv = make_head_lanes(units.count(kChunk), params.num_tokens, params.num_kv_heads, kMaxHeads),
      .q = make_head_lanes(units.num_rotated(kChunk), params.num_tokens, params.num_q_heads,
                           kMaxHeads)};
  const uint32_t ctas = 2 * lanes.kv.rows.num_ctas() + lanes.q.rows.num_ctas();
  if (ctas == 0) return cudaSuccess;
  return launch_dependent(write_kv_cache_kernel<In, Out, kHasRope>,
                          {.ctas = dim3(ctas), .threads = kCacheThreads, .smem_bytes = 0}, stream,
                          params, lanes);
}

// Without a rotation there are fewer registers to hold, so that more loads are under way.
template <class In, class Out>
cudaError_t launch(const WriteParams& params, cudaStream_t stream) {
  return params.rope.rotary_dim > 0 ? launch_kernel<In, Out, true>(params, stream)
                                    : launch_kernel<In, Out, false>(params, stream);
}

template <class In>
cudaError_t launch_of(const WriteParams& params, cudaStream_t stream) {
  switch (params.pages_dtype) {
    case DType::kFloat8E4M3:
      return launch<In, Float8E4M3>(params, stream);
    case DType::kFloat8E5M2:
      return launch<In, Float8E5M2>(params, stream);
    case DType::kInt8:
      return launch<In, int8_t>(params, stream);
    default:
      return launch<In, In>(params, stream);
  }
}

}  // namespace

cudaError_t launch_write_kv_cache(const WriteParams& params, cudaStream_t stream) {
  const DType dtype = params.k.rows.dtype;
  if (params.num_q_heads > 0 && params.num_kv_heads > 0 && params.q.dtype != dtype) {
    WriteParams kv_only = params;
    kv_only.num_q_heads = 0;
    const cudaError_t error = launch_write_kv_cache(kv_only, stream);
    if (error != cudaSuccess) return error;
    WriteParams q_only = params;
    q_only.num_kv_heads = 0;
    q_only.k.rows.dtype = q_only.pages_dtype = params.q.dtype;
    return launch_write_kv_cache(q_only, stream);
  }
  if (!params.in_vectors) return launch<AnyType, AnyType>(params, stream);
  switch (dtype) {
    case DType::kFloat32:
      return launch_of<float>(params, stream);
    case DType::kFloat16:
      return launch_of<Float16>(params, stream);
    default:
      return launch_of<BFloat16>(params, stream);
  }
}

}  // namespace pagoda::cuda
