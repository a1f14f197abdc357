// The first CTAs write K and V: the lanes of a row take the same units of both, which keeps four
// loads under way in each. The others rotate q.
#include "cuda/kernels/cache/write_kv_cache.h"

#include "core/paged_kv.h"
#include "cuda/kernels/cache/row.cuh"
#include "cuda/kernels/launch.h"
#include "cuda/sm90/sync.cuh"
#include "semantics/quant.h"
#include "semantics/rope.h"

namespace pagoda::cuda {
namespace {

struct WriteLanes {
  RowLanes kv;
  RowLanes q;
};

// kCount cosines or sines.
template <int kCount>
PAGODA_DEVICE void load_table(const RopeParams& rope, int64_t at, float (&values)[kCount]) {
  if constexpr (kCount == 1) {
    values[0] = load_wide_float(rope.cos_sin, rope.dtype, at);
  } else if (rope.dtype == DType::kFloat32) {
    const auto* table = static_cast<const float*>(rope.cos_sin) + at;
    const auto words = *reinterpret_cast<const Words<kCount>*>(table);
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = bit_cast<float>(words.of[i]);
  } else {
    const auto* table = static_cast<const uint16_t*>(rope.cos_sin) + at;
    const auto words = *reinterpret_cast<const Words<kCount / 2>*>(table);
    const bool is_f16 = rope.dtype == DType::kFloat16;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const auto bits = static_cast<uint16_t>(words.of[i / 2] >> (16 * (i % 2)));
      values[i] = is_f16 ? sm90::f16_to_f32(bits) : to_float(BFloat16{bits});
    }
  }
}

// Rotates the pairs that lie inside a chunk.
template <int kChunk>
PAGODA_DEVICE void rotate_inside(const RopeParams& rope, int64_t table_row, int32_t channel,
                                 float (&values)[kChunk]) {
  float cosines[kChunk / 2];
  float sines[kChunk / 2];
  load_table(rope, table_row + channel / 2, cosines);
  load_table(rope, table_row + (rope.rotary_dim + channel) / 2, sines);
#pragma unroll
  for (int i = 0; i < kChunk / 2; ++i) {
    rotate_pair(&values[2 * i], &values[2 * i + 1], cosines[i], sines[i]);
  }
}

template <int kChunk>
PAGODA_DEVICE void rotate(const RopeParams& rope, int64_t position, const UnitPlace& place,
                          UnitValues<kChunk>* unit) {
  const int64_t table_row = position * rope.position_stride;
  if constexpr (kChunk > 1) {
    if (rope.interleaved) {
      rotate_inside(rope, table_row, place.first, unit->first);
      rotate_inside(rope, table_row, place.second, unit->second);
      return;
    }
  }
  float cosines[kChunk];
  float sines[kChunk];
  const int32_t pair = rope.interleaved ? place.first / 2 : place.first;
  load_table(rope, table_row + pair, cosines);
  load_table(rope, table_row + rope.rotary_dim / 2 + pair, sines);
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    rotate_pair(&unit->first[i], &unit->second[i], cosines[i], sines[i]);
  }
}

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

// One row of K, which may be rotated, or V.
template <class In, class Out, bool kRotates>
class RowWriter {
 public:
  static constexpr int kChunk = Row<In>::kChunk;

  PAGODA_DEVICE RowWriter(const WriteSide& side, const WriteParams& params, const WritePlace& place)
      : params_(params),
        place_(place),
        has_token_scale_(side.token_scale.data != nullptr),
        is_copy_(kIsOneType || side.rows.dtype == params.pages_dtype),
        in_(new_row<In>(side.rows, place.token, place.head)),
        out_(side.pages.data, params.pages_dtype, row_offset(side.pages, place.slot, place.head)) {}

  // The scale of the row; one by token is computed and stored by all lanes of the row together.
  PAGODA_DEVICE float scale(const WriteSide& side, const RowLanes& lanes, const RowUnits& units,
                            int32_t first_unit) const {
    if (kIsOneType || !has_token_scale_) return scale_of(side.scale, 0, place_.head);
    int32_t largest = 0;
    for (int32_t unit = first_unit; unit < lanes.num_units; unit += lanes.lanes()) {
      const UnitPlace at = unit_place(units, kChunk, unit);
      const UnitValues<kChunk> x = values(UnitBits<In>(in_, at), at);
#pragma unroll
      for (int i = 0; i < kChunk; ++i) {
        largest = max_of(largest, magnitude_bits(x.first[i]));
        largest = max_of(largest, magnitude_bits(x.second[i]));
      }
    }
    largest = __reduce_max_sync(row_mask(lanes, first_unit), largest);
    const float scale = token_scale_of(largest, params_.pages_dtype);
    if (first_unit == 0) *scale_address(side.token_scale, place_.slot, place_.head) = scale;
    return scale;
  }

  PAGODA_DEVICE void write(const UnitBits<In>& bits, const UnitPlace& at, float scale) const {
    if (is_copy_ && !(kRotates && at.is_rotated)) {
      if constexpr (std::is_same_v<In, Out>) bits.store(out_, at);
      return;
    }
    UnitValues<kChunk> x = values(bits, at);
    if (scale != 1.0f) {
#pragma unroll
      for (int i = 0; i < kChunk; ++i) {
        x.first[i] /= scale;
        x.second[i] /= scale;
      }
    }
    x.store(out_, at);
  }

 private:
  static constexpr bool kIsOneType = std::is_same_v<In, Out> && !std::is_same_v<In, AnyType>;

  PAGODA_DEVICE UnitValues<kChunk> values(const UnitBits<In>& bits, const UnitPlace& at) const {
    UnitValues<kChunk> x(in_, bits);
    if (kRotates && at.is_rotated) rotate(params_.rope, place_.position, at, &x);
    return x;
  }

  const WriteParams& params_;
  const WritePlace& place_;
  const bool has_token_scale_;
  const bool is_copy_;
  const Row<In> in_;
  const Row<Out> out_;
};

template <class In, class Out, bool kHasRope>
PAGODA_DEVICE void write_kv(const WriteParams& params, const RowLanes& lanes, uint32_t cta) {
  const ThreadPlace me(lanes, cta);
  if (me.row >= lanes.num_rows) return;
  const auto heads = static_cast<uint32_t>(params.num_kv_heads);
  WritePlace place{.token = static_cast<int32_t>(me.row / heads),
                   .head = static_cast<int32_t>(me.row % heads),
                   .slot = {},
                   .position = 0};
  const int64_t slot = params.slots[place.token * params.slots_stride];
  if constexpr (kHasRope) place.position = position_of(params.rope, place.token);

  const RowUnits units{params.head_dim, params.rope.rotary_dim, params.rope.interleaved};
  const Row<In> k_in = new_row<In>(params.k.rows, place.token, place.head);
  const Row<In> v_in = new_row<In>(params.v.rows, place.token, place.head);
  // The first units are under way before it is known where they go, if anywhere.
  UnitPlace at = unit_place(units, Row<In>::kChunk, me.unit);
  UnitBits<In> k_bits(k_in, at);
  UnitBits<In> v_bits(v_in, at);
  if (slot < 0) return;
  place.slot = mapped_slot(slot, params.page_size);
  const RowWriter<In, Out, kHasRope> k(params.k, params, place);
  const RowWriter<In, Out, false> v(params.v, params, place);
  const float k_scale = k.scale(params.k, lanes, units, me.unit);
  const float v_scale = v.scale(params.v, lanes, units, me.unit);
  for (int32_t unit = me.unit; unit < lanes.num_units;) {
    k.write(k_bits, at, k_scale);
    v.write(v_bits, at, v_scale);
    unit += lanes.lanes();
    at = unit_place(units, Row<In>::kChunk, unit);
    k_bits = UnitBits<In>(k_in, at);
    v_bits = UnitBits<In>(v_in, at);
  }
}

template <class T>
PAGODA_DEVICE void rotate_q(const WriteParams& params, const RowLanes& lanes, uint32_t cta) {
  const ThreadPlace me(lanes, cta);
  if (me.row >= lanes.num_rows) return;
  const auto heads = static_cast<uint32_t>(params.num_q_heads);
  const auto token = static_cast<int32_t>(me.row / heads);
  const Row<T> q = new_row<T>(params.q, token, static_cast<int32_t>(me.row % heads));
  const int64_t position = position_of(params.rope, token);
  const RowUnits units{params.head_dim, params.rope.rotary_dim, params.rope.interleaved};
  // Units do not share elements, so that a row may be rotated where it lies.
  for (int32_t unit = me.unit; unit < lanes.num_units; unit += lanes.lanes()) {
    const UnitPlace at = unit_place(units, Row<T>::kChunk, unit);
    UnitValues<Row<T>::kChunk> x(q, UnitBits<T>(q, at));
    rotate(params.rope, position, at, &x);
    x.store(q, at);
  }
}

template <class In, class Out, bool kHasRope>
__global__ void __launch_bounds__(kCacheThreads)
    write_kv_cache_kernel(const __grid_constant__ WriteParams params,
                          const __grid_constant__ WriteLanes lanes) {
  sm90::wait_for_previous_grids();
  sm90::launch_dependent_grids();
  const uint32_t kv_ctas = lanes.kv.num_ctas();
  if (!kHasRope || blockIdx.x < kv_ctas) {
    write_kv<In, Out, kHasRope>(params, lanes.kv, blockIdx.x);
  } else {
    rotate_q<In>(params, lanes.q, blockIdx.x - kv_ctas);
  }
}

template <class In, class Out, bool kHasRope>
cudaError_t launch_kernel(const WriteParams& params, cudaStream_t stream) {
  constexpr int kChunk = Row<In>::kChunk;
  const RowUnits units{params.head_dim, params.rope.rotary_dim, params.rope.interleaved};
  const auto rows_of = [&](int32_t heads) {
    return static_cast<uint32_t>(params.num_tokens) * static_cast<uint32_t>(heads);
  };
  const WriteLanes lanes{
      .kv = make_row_lanes(units.count(kChunk), rows_of(params.num_kv_heads)),
      .q = make_row_lanes(units.num_rotated(kChunk), rows_of(params.num_q_heads))};
  const uint32_t ctas = lanes.kv.num_ctas() + lanes.q.num_ctas();
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
