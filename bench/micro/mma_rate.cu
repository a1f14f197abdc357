// What the tensor cores reach in the shapes that attention tiles can take.
#include "measure.h"
#include "mma_rate_kernels.cuh"

namespace pagoda::micro {
namespace {

constexpr int kRounds = 2000;

class MmaRate {
 public:
  explicit MmaRate(Report& report)
      : report_(report),
        gpu_(current_gpu()),
        operands_(kOperandBytes),
        cycles_(4 * gpu_.num_sms),
        out_(size_t{4096} * gpu_.num_sms) {
    fill_normal_bf16(operands_.get(), kOperandBytes, 3);
  }

  void run() {
    report_.section("wgmma: A shared (ss) or in registers (rs), B with k or n contiguous");
    for (int warpgroups : {1, 2, 4}) {
      wgmma_both<8>(warpgroups);
      wgmma_both<16>(warpgroups);
      wgmma_both<32>(warpgroups);
      wgmma_both<64>(warpgroups);
      wgmma_both<128>(warpgroups);
      if (warpgroups <= 2) wgmma_both<176>(warpgroups);
      if (warpgroups <= 2) wgmma_both<256>(warpgroups);
    }
    report_.section("mma.sync m16n8k16, operands in registers");
    for (int warps : {4, 8, 16}) mma_sync(warps);
    report_.section("few rows: two chained products of 16 or 32 rows with tiles in shared memory");
    for (int ctas : {1, 2, 3}) {
      few_rows<1>(4, ctas);
      few_rows<2>(4, ctas);
      few_rows<1>(8, ctas);
      few_rows<2>(8, ctas);
    }
  }

 private:
  template <int kN>
  void wgmma_both(int warpgroups) {
    wgmma<kN, WgmmaForm::kShared>("ss, k", warpgroups);
    wgmma<kN, WgmmaForm::kSharedAcross>("ss, n", warpgroups);
    wgmma<kN, WgmmaForm::kRegistersAcross>("rs, n", warpgroups);
  }

  template <int kN, WgmmaForm kForm>
  void wgmma(const char* form, int warpgroups) {
    const auto kernel = repeat_wgmma<kN, kForm>;
    const int smem = static_cast<int>(sizeof(WgmmaSmem<kN>)) + 1024;
    const double flops = 2.0 * 64 * kN * kWgmmaK * kRounds * warpgroups;
    measure("wgmma", {{"n", text(kN)}, {"form", form}, {"warpgroups", text(warpgroups)}}, kernel,
            {1, warpgroups * 128, smem}, flops);
  }

  void mma_sync(int warps) {
    const double flops = 2.0 * 16 * 8 * 16 * kMmaChains * kRounds * warps;
    measure("mma_sync", {{"warps", text(warps)}}, repeat_mma_sync, {1, warps * 32, 0}, flops);
  }

  template <int kRowTiles>
  void few_rows(int warps, int ctas) {
    const auto kernel = repeat_few_rows<kRowTiles>;
    const int tokens = warps * kWarpTokens;
    const int smem = 2 * kTileRing * tokens * 256 + 1024;
    if (smem * ctas > 220 * 1024) return;
    const double flops = 2.0 * 2 * 16 * kRowTiles * tokens * 128 * kRounds * ctas;
    const Measured got = measure(
        "few_rows",
        {{"rows", text(16 * kRowTiles)}, {"warps", text(warps)}, {"ctas_per_sm", text(ctas)}},
        kernel, {ctas, warps * 32, smem}, flops);
    const double bytes = 2.0 * tokens * 256 * kRounds * ctas * gpu_.num_sms;
    report_.add(
        "few_rows_bytes",
        {{"rows", text(16 * kRowTiles)}, {"warps", text(warps)}, {"ctas_per_sm", text(ctas)}},
        bytes / got.us * 1e-6, "TB/s of keys and values");
  }

  struct Launch {
    int ctas_per_sm, threads, smem_bytes;
  };
  struct Measured {
    double us;
  };

  // `flops` is per SM.
  template <class Kernel>
  Measured measure(const char* bench, const Settings& settings, Kernel kernel, Launch launch,
                   double flops) {
    allow_smem(kernel, launch.smem_bytes);
    const int ctas = launch.ctas_per_sm * gpu_.num_sms;
    const double us = median_us({.samples = 7, .batch = 3}, [&](int) {
      kernel<<<ctas, launch.threads, launch.smem_bytes>>>(
          reinterpret_cast<const uint32_t*>(operands_.get()), kRounds, cycles_.get(), out_.get());
    });
    char per_clock[64] = "";
    if (launch.ctas_per_sm == 1) {  // else the CTAs of an SM need not run at the same time
      std::vector<int64_t> cycles = cycles_.to_host();
      cycles.resize(ctas);
      std::snprintf(per_clock, sizeof(per_clock), "%.0f flop/clk/SM",
                    flops / median({cycles.begin(), cycles.end()}));
    }
    report_.add(bench, settings, flops * gpu_.num_sms / us * 1e-6, "TFLOP/s", per_clock);
    return {us};
  }

  Report& report_;
  Gpu gpu_;
  Buffer<uint8_t> operands_;
  Buffer<int64_t> cycles_;
  Buffer<float> out_;
};

}  // namespace

void run_mma_rate(Report& report) {
  MmaRate(report).run();
}

}  // namespace pagoda::micro
