// How fast contiguous memory can be read: the ceiling for everything that reads a KV cache.
#include "checksum.cuh"
#include "cuda/sm90/ldst.cuh"
#include "cuda/sm90/tma.cuh"
#include "cuda/tile/pipeline.cuh"
#include "measure.h"

namespace pagoda::micro {
namespace {

constexpr int64_t kReadBytes = int64_t{1} << 30;  // per launch
constexpr int kWindows = 6;                       // launches rotate over this many such buffers

// kUnroll loads of 16 bytes in flight per thread.
template <int kUnroll>
__global__ void read_to_registers(const uint4* data, int64_t size, uint32_t* checksum) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  Checksum sum;
  int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (; i + (kUnroll - 1) * step < size; i += kUnroll * step) {
    uint4 x[kUnroll];
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) x[j] = sm90::load_global_16(data + i + j * step);
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) sum.add(x[j]);
  }
  for (; i < size; i += step) sum.add(sm90::load_global_16(data + i));
  sum.add_to(checksum);
}

// A ring of kStages groups of four 16-byte copies per thread; each thread reads what it copied.
template <int kStages>
__global__ void read_by_cp_async(const uint4* data, int64_t size, uint32_t* checksum) {
  extern __shared__ uint4 staged[];
  constexpr int kCopies = 4;
  const int64_t chunk = static_cast<int64_t>(kCopies) * blockDim.x;
  const int64_t num_chunks = size / chunk;
  const auto slot = [&](int stage, int j) {
    return (stage * kCopies + j) * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x);
  };
  const auto copy = [&](int64_t i, int stage) {
    const int64_t at = blockIdx.x + i * gridDim.x;
    if (at < num_chunks) {
#pragma unroll
      for (int j = 0; j < kCopies; ++j) {
        sm90::cp_async_16(sm90::smem_address(staged + slot(stage, j)),
                          data + at * chunk + j * blockDim.x + threadIdx.x);
      }
    }
    sm90::cp_async_commit();
  };
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) copy(stage, stage);
  Checksum sum;
  int stage = 0;
  for (int64_t i = 0; blockIdx.x + i * gridDim.x < num_chunks; ++i) {
    copy(i + kStages - 1, stage == 0 ? kStages - 1 : stage - 1);
    sm90::cp_async_wait<kStages - 1>();
#pragma unroll
    for (int j = 0; j < kCopies; ++j) {
      sum.add(sm90::load_shared_16(sm90::smem_address(staged + slot(stage, j))));
    }
    stage = stage == kStages - 1 ? 0 : stage + 1;
  }
  sum.add_to(checksum);
}

// The copy engine with large plain copies.
template <int kStages>
__global__ void read_by_bulk_copy(const uint8_t* data, int64_t bytes, int copy_bytes,
                                  uint32_t* checksum) {
  extern __shared__ __align__(128) uint8_t ring[];
  __shared__ tile::Pipeline<kStages> pipeline;
  constexpr int kConsumers = 128;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) pipeline.init(1, kConsumers);
  __syncthreads();
  const int64_t num_copies = bytes / copy_bytes;
  tile::PipelineCursor<kStages> cursor;
  if (thread >= kConsumers) {
    if (thread > kConsumers) return;
    const sm90::L2Policy policy = sm90::l2_evict_first();
    for (int64_t i = blockIdx.x; i < num_copies; i += gridDim.x, cursor.advance()) {
      pipeline.acquire(cursor);
      sm90::arrive_expect_bytes(pipeline.full(cursor), copy_bytes);
      sm90::load_bytes(ring + cursor.stage * copy_bytes, data + i * copy_bytes, copy_bytes,
                       pipeline.full(cursor), policy);
    }
    return;
  }
  Checksum sum;
  for (int64_t i = blockIdx.x; i < num_copies; i += gridDim.x, cursor.advance()) {
    pipeline.wait(cursor);
    const uint32_t stage = sm90::smem_address(ring + cursor.stage * copy_bytes);
    for (int at = thread * 16; at < copy_bytes; at += kConsumers * 16) {
      sum.add(sm90::load_shared_16(stage + at));
    }
    pipeline.release(cursor);
  }
  sum.add_to(checksum);
}

class StreamRead {
 public:
  explicit StreamRead(Report& report)
      : report_(report),
        gpu_(current_gpu()),
        data_(kWindows * kReadBytes),
        checksum_(std::vector<uint32_t>{0}) {
    fill_normal_bf16(data_.get(), data_.bytes(), 1);
  }

  void run() {
    report_.section("contiguous reads of 1 GiB");
    for (int threads : {256, 512, 1024}) {
      for (int ctas : {1, 2, 4, 8}) {
        if (threads * ctas > 2048) continue;
        registers<4>(threads, ctas);
        registers<8>(threads, ctas);
        registers<16>(threads, ctas);
      }
    }
    for (int threads : {128, 256}) {
      for (int ctas : {1, 2, 4}) {
        cp_async<4>(threads, ctas);
        cp_async<8>(threads, ctas);
      }
    }
    for (int ctas : {1, 2, 3}) {
      for (int copy_bytes : {2048, 4096, 8192, 16384}) bulk_copy<4>(copy_bytes, ctas);
    }
    for (int copy_bytes : {4096, 8192, 16384}) bulk_copy<12>(copy_bytes, 1);
  }

 private:
  const uint8_t* window(int number) const { return data_.get() + number % kWindows * kReadBytes; }

  void add(const std::string& way, const Settings& settings, double us) {
    report_.add("stream_read/" + way, settings, kReadBytes / us * 1e-6, "TB/s");
  }

  template <int kUnroll>
  void registers(int threads, int ctas) {
    const double us = median_us({}, [&](int number) {
      read_to_registers<kUnroll><<<ctas * gpu_.num_sms, threads>>>(
          reinterpret_cast<const uint4*>(window(number)), kReadBytes / 16, checksum_.get());
    });
    add("ld.global",
        {{"threads", text(threads)},
         {"ctas_per_sm", text(ctas)},
         {"loads_in_flight", text(kUnroll)},
         {"kib_per_sm", text(threads * ctas * kUnroll * 16 / 1024)}},
        us);
  }

  template <int kStages>
  void cp_async(int threads, int ctas) {
    const int smem = kStages * 4 * 16 * threads;
    if ((smem + 1024) * ctas > 227 * 1024) return;
    allow_smem(read_by_cp_async<kStages>, smem);
    const double us = median_us({}, [&](int number) {
      read_by_cp_async<kStages><<<ctas * gpu_.num_sms, threads, smem>>>(
          reinterpret_cast<const uint4*>(window(number)), kReadBytes / 16, checksum_.get());
    });
    add("cp.async",
        {{"threads", text(threads)},
         {"ctas_per_sm", text(ctas)},
         {"stages", text(kStages)},
         {"kib_per_sm", text(smem * ctas / 1024)}},
        us);
  }

  template <int kStages>
  void bulk_copy(int copy_bytes, int ctas) {
    const int smem = kStages * copy_bytes;
    if ((smem + 2048) * ctas > 227 * 1024) return;
    allow_smem(read_by_bulk_copy<kStages>, smem);
    const double us = median_us({}, [&](int number) {
      read_by_bulk_copy<kStages><<<ctas * gpu_.num_sms, 160, smem>>>(window(number), kReadBytes,
                                                                     copy_bytes, checksum_.get());
    });
    add("bulk_copy",
        {{"copy_bytes", text(copy_bytes)},
         {"ctas_per_sm", text(ctas)},
         {"stages", text(kStages)},
         {"kib_per_sm", text(smem * ctas / 1024)}},
        us);
  }

  Report& report_;
  Gpu gpu_;
  Buffer<uint8_t> data_;
  Buffer<uint32_t> checksum_;
};

}  // namespace

void run_stream_read(Report& report) {
  StreamRead(report).run();
}

}  // namespace pagoda::micro
