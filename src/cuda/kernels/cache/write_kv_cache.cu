// The first CTAs write K and V: the lanes of a row take the same units of both, which keeps four
// loads under way in each. The others rotate q.
#include "cuda/kernels/cache/write_kv_cache.h"

#include "core/paged_kv.h"
#include "cuda/kernels/cache/row.cuh"
#include "cuda/kernels/launch.h"
#include "cuda/sm90/sync.cuh"
#include "semantics/divisor.h"
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
PAGODA_DEVICE void load_table(const RopeParams& rope, int64_t at, float* values) {
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

// The angles of a unit's pairs at one position. Where pairs lie inside chunks, half of them are the
// first chunk's.
template <int kChunk>
class UnitRotation {
 public:
  PAGODA_DEVICE UnitRotation(const RopeParams& rope, int64_t position, const UnitPlace& place)
      : is_inside_(kChunk > 1 && rope.interleaved) {
    const int64_t cosines = position * rope.position_stride;
    const int64_t sines = cosines + rope.rotary_dim / 2;
    if constexpr (kChunk > 1) {
      if (is_inside_) {
        constexpr int kHalf = kChunk / 2;
        load_table<kHalf>(rope, cosines + place.first / 2, cosines_);
        load_table<kHalf>(rope, cosines + place.second / 2, cosines_ + kHalf);
        load_table<kHalf>(rope, sines + place.first / 2, sines_);
        load_table<kHalf>(rope, sines + place.second / 2, sines_ + kHalf);
        return;
      }
    }
    const int32_t pair = rope.interleaved ? place.first / 2 : place.first;
    load_table<kChunk>(rope, cosines + pair, cosines_);
    load_table<kChunk>(rope, sines + pair, sines_);
  }

  PAGODA_DEVICE void apply(UnitValues<kChunk>* unit) const {
    if constexpr (kChunk > 1) {
      if (is_inside_) {
        rotate_inside(0, unit->first);
        rotate_inside(kChunk / 2, unit->second);
        return;
      }
    }
#pragma unroll
    for (int i = 0; i < kChunk; ++i) {
      rotate_pair(&unit->first[i], &unit->second[i], cosines_[i], sines_[i]);
    }
  }

 private:
  PAGODA_DEVICE void rotate_inside(int begin, float (&values)[kChunk]) const {
#pragma unroll
    for (int i = 0; i < kChunk / 2; ++i) {
      rotate_pair(&values[2 * i], &values[2 * i + 1], cosines_[begin + i], sines_[begin + i]);
    }
  }

  const bool is_inside_;
  float cosines_[kChunk];
  float sines_[kChunk];
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

// What a row is divided by.
struct RowScale {
  Divisor by;
  float largest;  // of the row, if its scale depends on that
};

// One row of K, which may be rotated, or V.
template <class In, class Out, bool kRotates>
class RowWriter {
 public:
  static constexpr int kChunk = Row<In>::kChunk;

  PAGODA_DEVICE RowWriter(const WriteSide& side, const WriteParams& params, const WritePlace& place)
      : side_(side),
        params_(params),
        place_(place),
        is_copy_(kIsOneType || side.rows.dtype == params.pages_dtype),
        tensor_scale_(kIsOneType ? 1.0f : scale_of(side.scale, 0, place.head)),
        in_(new_row<In>(side.rows, place.token, place.head)),
        out_(side.pages.data, params.pages_dtype, row_offset(side.pages, place.slot, place.head)) {}

  PAGODA_DEVICE bool has_token_scale() const {
    return !kIsOneType && side_.token_scale.data != nullptr;
  }

  // The largest magnitude among a lane's units, the first of which it holds.
  PAGODA_DEVICE float largest(const UnitBits<In>& first, const RowUnits& units,
                              const RowLanes& lanes, int32_t unit) const {
    float result = values(first, unit_place(units, kChunk, unit)).largest();
    for (unit += lanes.lanes(); unit < lanes.num_units; unit += lanes.lanes()) {
      const UnitPlace at = unit_place(units, kChunk, unit);
      result = fmaxf(result, values(UnitBits<In>(in_, at), at).largest());
    }
    return result;
  }

  // One by token follows from the row's largest magnitude, and is stored by its first lane.
  PAGODA_DEVICE RowScale scale(float row_largest, bool is_first_lane) const {
    if (!has_token_scale()) return {Divisor(tensor_scale_), 0.0f};
    const float scale = token_scale_of(bit_cast<int32_t>(row_largest), params_.pages_dtype);
    if (is_first_lane) *scale_address(side_.token_scale, place_.slot, place_.head) = scale;
    return {Divisor(scale), row_largest};
  }

  PAGODA_DEVICE void write(const UnitBits<In>& bits, const UnitPlace& at,
                           const RowScale& scale) const {
    if (is_copy_ && !(kRotates && at.is_rotated)) {
      if constexpr (std::is_same_v<In, Out>) bits.store(out_, at);
      return;
    }
    UnitValues<kChunk> x = values(bits, at);
    if constexpr (!kIsOneType) {
      const float largest = has_token_scale() ? scale.largest : x.largest();
      if (scale.by.covers(largest)) {
        x.for_each([&](float value) { return scale.by.quotient(value); });
      } else {
        x.for_each([&](float value) { return value / scale.by.divisor; });
      }
    }
    x.store(out_, at);
  }

 private:
  static constexpr bool kIsOneType = std::is_same_v<In, Out> && !std::is_same_v<In, AnyType>;

  PAGODA_DEVICE UnitValues<kChunk> values(const UnitBits<In>& bits, const UnitPlace& at) const {
    UnitValues<kChunk> x(in_, bits);
    if (kRotates && at.is_rotated) {
      UnitRotation<kChunk>(params_.rope, place_.position, at).apply(&x);
    }
    return x;
  }

  const WriteSide& side_;
  const WriteParams& params_;
  const WritePlace& place_;
  const bool is_copy_;
  const float tensor_scale_;
  const Row<In> in_;
  const Row<Out> out_;
};

// Over the lanes of a row, of two rows at once. All lanes of a warp take part.
PAGODA_DEVICE void reduce_largest(const RowLanes& lanes, float* k, float* v) {
  for (int32_t distance = lanes.lanes() / 2; distance > 0; distance /= 2) {
    *k = fmaxf(*k, __shfl_xor_sync(0xffffffffu, *k, distance));
    *v = fmaxf(*v, __shfl_xor_sync(0xffffffffu, *v, distance));
  }
}

template <class In, class Out, bool kHasRope>
PAGODA_DEVICE void write_kv(const WriteParams& params, const RowLanes& lanes, uint32_t cta) {
  const ThreadPlace me(lanes, cta);
  const uint32_t row = min_of(me.row, lanes.num_rows - 1);
  const auto heads = static_cast<uint32_t>(params.num_kv_heads);
  WritePlace place{.token = static_cast<int32_t>(row / heads),
                   .head = static_cast<int32_t>(row % heads),
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
  place.slot = mapped_slot(slot, params.page_size);
  const RowWriter<In, Out, kHasRope> k(params.k, params, place);
  const RowWriter<In, Out, false> v(params.v, params, place);
  const bool is_written = me.row < lanes.num_rows && slot >= 0;
  float k_largest = 0.0f;
  float v_largest = 0.0f;
  if (k.has_token_scale() || v.has_token_scale()) {
    if (is_written) {
      k_largest = k.largest(k_bits, units, lanes, me.unit);
      v_largest = v.largest(v_bits, units, lanes, me.unit);
    }
    reduce_largest(lanes, &k_largest, &v_largest);
  }
  if (!is_written) return;
  const RowScale k_scale = k.scale(k_largest, me.unit == 0);
  const RowScale v_scale = v.scale(v_largest, me.unit == 0);
  for (int32_t unit = me.unit; unit < lanes.num_units;) {
    k.write(k_bits, at, k_scale);
    v.write(v_bits, at, v_scale);
    unit += lanes.lanes();
    at = unit_place(units, Row<In>::kChunk, unit);
    k_bits = UnitBits<In>(k_in, at);
    v_bits = UnitBits<In>(v_in, at);
  }
}

// Two heads turn by the same angles.
constexpr int kHeadsTogether = 2;

template <class T>
PAGODA_DEVICE void rotate_q(const WriteParams& params, const RowLanes& lanes, uint32_t cta) {
  constexpr int kChunk = Row<T>::kChunk;
  const ThreadPlace me(lanes, cta);
  if (me.row >= lanes.num_rows) return;
  const auto groups = static_cast<uint32_t>(ceil_div(params.num_q_heads, kHeadsTogether));
  const auto token = static_cast<int32_t>(me.row / groups);
  const int32_t head = static_cast<int32_t>(me.row % groups) * kHeadsTogether;
  const Row<T> q[kHeadsTogether] = {new_row<T>(params.q, token, head),
                                    new_row<T>(params.q, token, head + 1)};
  const int32_t num_heads = min_of(kHeadsTogether, params.num_q_heads - head);
  const int64_t position = position_of(params.rope, token);
  const RowUnits units{params.head_dim, params.rope.rotary_dim, params.rope.interleaved};
  // Units do not share elements, so that a row may be rotated where it lies.
  for (int32_t unit = me.unit; unit < lanes.num_units; unit += lanes.lanes()) {
    const UnitPlace at = unit_place(units, kChunk, unit);
    const UnitBits<T> bits[kHeadsTogether] = {UnitBits<T>(q[0], at),
                                              UnitBits<T>(q[1], num_heads > 1 ? at : UnitPlace{})};
    const UnitRotation<kChunk> rotation(params.rope, position, at);
#pragma unroll
    for (int i = 0; i < kHeadsTogether; ++i) {
      if (i >= num_heads) break;
      UnitValues<kChunk> x(q[i], bits[i]);
      rotation.apply(&x);
      x.store(q[i], at);
    }
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
      .q = make_row_lanes(units.num_rotated(kChunk),
                          rows_of(ceil_div(params.num_q_heads, kHeadsTogether)))};
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
