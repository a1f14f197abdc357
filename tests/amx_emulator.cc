// AMX on processors that lack it, so that the kernels of amx_bf16 run as they were compiled: each
// tile instruction raises SIGILL, whose handler does what the architecture says. Linked in front of
// the library, this file takes the place of cpu/amx_support.cc.
#include <cpuid.h>
#include <immintrin.h>
#include <ucontext.h>

#include <csignal>
#include <cstdint>
#include <cstring>

#include "cpu/amx_support.h"

namespace pagoda::cpu {
namespace {

constexpr int kTiles = 8;
constexpr int kRows = 16;
constexpr int kRowBytes = 64;
constexpr int kPairs = kRowBytes / 4;

struct Tile {
  int rows;
  int row_bytes;
  alignas(kRowBytes) uint8_t data[kRows][kRowBytes];
};

struct Tiles {
  bool configured;
  Tile of[kTiles];
};
thread_local Tiles tiles;

// ldtilecfg's operand.
struct ConfigBytes {
  uint8_t palette;
  uint8_t start_row;
  uint8_t reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(ConfigBytes) == 64);

// A VEX-coded instruction of opcode map 0F38, as all tile instructions are.
struct Instruction {
  int length;
  int prefix;  // 0 none, 1 66, 2 F3, 3 F2
  int opcode;
  int reg;
  int second;      // the register in the VEX prefix
  int rm;          // a register, unless the operand is in memory
  char* address;   // of that, or null
  int64_t stride;  // of its rows: the index register
};

int64_t general_register(const greg_t* registers, int number) {
  constexpr int kOrder[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                            REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  return registers[kOrder[number]];
}

// Adds the operand in memory, whose ModRM byte is code[4].
void decode_address(const uint8_t* code, const greg_t* registers, Instruction* instruction) {
  constexpr int kSib = 4;     // in place of a base: a byte of base, index and scale follows
  constexpr int kNoBase = 5;  // without displacement: there is one of 32 bits instead
  const int index_high = (~code[1] >> 6 & 1) << 3;
  const int base_high = (~code[1] >> 5 & 1) << 3;
  const int mode = code[4] >> 6;
  int base = code[4] & 7;
  int length = 5;
  int64_t address = 0;
  const bool has_sib = base == kSib;
  if (has_sib) {
    const int sib = code[length++];
    base = sib & 7;
    const int index = (sib >> 3 & 7) | index_high;
    if (index != kSib) instruction->stride = general_register(registers, index) << (sib >> 6);
  }
  const bool has_base = mode != 0 || base != kNoBase;
  if (has_base) address = general_register(registers, base | base_high);
  if (mode == 1) {
    address += static_cast<int8_t>(code[length++]);
  } else if (mode == 2 || !has_base) {
    int32_t displacement;
    std::memcpy(&displacement, code + length, sizeof(displacement));
    length += static_cast<int>(sizeof(displacement));
    address += displacement;
  }
  if (!has_base && !has_sib) address += reinterpret_cast<int64_t>(code) + length;
  instruction->length = length;
  instruction->address = reinterpret_cast<char*>(address);
}

// False if it is no such instruction.
bool decode(const greg_t* registers, Instruction* instruction) {
  const auto* code = reinterpret_cast<const uint8_t*>(registers[REG_RIP]);
  constexpr int kMap0F38 = 2;
  if (code[0] != 0xc4 || (code[1] & 0x1f) != kMap0F38 || (code[2] & 0x84) != 0) return false;
  *instruction = {.length = 5,
                  .prefix = code[2] & 3,
                  .opcode = code[3],
                  .reg = code[4] >> 3 & 7,
                  .second = ~code[2] >> 3 & 15,
                  .rm = code[4] & 7,
                  .address = nullptr,
                  .stride = 0};
  if (code[4] >> 6 != 3) decode_address(code, registers, instruction);
  return true;
}

bool load_config(const char* operand) {
  ConfigBytes config;
  std::memcpy(&config, operand, sizeof(config));
  if (config.palette != 1 || config.start_row != 0) return false;
  for (int i = 0; i < kTiles; ++i) {
    if (config.rows[i] > kRows || config.row_bytes[i] > kRowBytes) return false;
    tiles.of[i] = {config.rows[i], config.row_bytes[i], {}};
  }
  tiles.configured = true;
  return true;
}

void load_tile(Tile* tile, const char* rows, int64_t stride) {
  std::memset(tile->data, 0, sizeof(tile->data));
  for (int m = 0; m < tile->rows; ++m) {
    std::memcpy(tile->data[m], rows + m * stride, static_cast<size_t>(tile->row_bytes));
  }
}

void store_tile(const Tile& tile, char* rows, int64_t stride) {
  for (int m = 0; m < tile.rows; ++m) {
    std::memcpy(rows + m * stride, tile.data[m], static_cast<size_t>(tile.row_bytes));
  }
}

// The element, first or second, of a pair of bf16.
float element(const uint8_t* row, int pair, int which) {
  uint16_t bits;
  std::memcpy(&bits, row + 4 * pair + 2 * which, sizeof(bits));
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

// sum[m][n] += a[m][k] . b[k][n]: products of first and of second elements are summed each on their
// own, their total is added last.
bool dot_bf16(Tile* sum, const Tile& a, const Tile& b) {
  if (sum == &a || sum == &b || &a == &b) return false;
  if (sum->rows != a.rows || a.row_bytes != 4 * b.rows || sum->row_bytes != b.row_bytes)
    return false;
  float right[kPairs][2][kPairs];
  for (int k = 0; k < b.rows; ++k) {
    for (int which = 0; which < 2; ++which) {
      for (int n = 0; n < kPairs; ++n) right[k][which][n] = element(b.data[k], n, which);
    }
  }
  for (int m = 0; m < sum->rows; ++m) {
    float sums[2][kPairs] = {};
    for (int k = 0; k < b.rows; ++k) {
      for (int which = 0; which < 2; ++which) {
        const float left = element(a.data[m], k, which);
        for (int n = 0; n < kPairs; ++n) sums[which][n] += left * right[k][which][n];
      }
    }
    float total[kPairs];
    std::memcpy(total, sum->data[m], sizeof(total));
    for (int n = 0; n < kPairs; ++n) total[n] += sums[0][n] + sums[1][n];
    std::memcpy(sum->data[m], total, static_cast<size_t>(sum->row_bytes));
  }
  return true;
}

// False if it is none of those that the kernels use, or one that would fault.
bool execute(const Instruction& in) {
  enum Prefix { kNone = 0, kF3 = 2, kF2 = 3 };
  const bool in_memory = in.address != nullptr;
  if (in.opcode == 0x49 && in.prefix == kNone && in.reg == 0) {
    if (in_memory) return load_config(in.address);
    tiles = {};
    return true;
  }
  if (!tiles.configured) return false;
  Tile& tile = tiles.of[in.reg];
  if (in.opcode == 0x49 && in.prefix == kF2 && !in_memory) {
    std::memset(tile.data, 0, sizeof(tile.data));
    return true;
  }
  if (in.opcode == 0x4b && in.prefix == kF2 && in_memory) {
    load_tile(&tile, in.address, in.stride);
    return true;
  }
  if (in.opcode == 0x4b && in.prefix == kF3 && in_memory) {
    store_tile(tile, in.address, in.stride);
    return true;
  }
  if (in.opcode == 0x5c && in.prefix == kF3 && !in_memory && in.second < kTiles) {
    return dot_bf16(&tile, tiles.of[in.rm], tiles.of[in.second]);
  }
  return false;
}

// All tile instructions from here to the next other one: a signal costs more than they do.
void emulate(int signal, siginfo_t*, void* context) {
  // Subnormal inputs and results count as 0.
  constexpr unsigned kInputsAreZero = 0x40;
  _mm_setcsr(_mm_getcsr() | _MM_FLUSH_ZERO_ON | kInputsAreZero);
  greg_t* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  bool any = false;
  for (Instruction next; decode(registers, &next) && execute(next); any = true) {
    registers[REG_RIP] += next.length;
  }
  if (!any) std::signal(signal, SIG_DFL);  // the instruction faults again, for good
}

bool has_tiles() {
  constexpr unsigned kHasTiles = 1u << 24;
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & kHasTiles) != 0;
}

}  // namespace

// Not where there are tiles: without the system's permission some of their instructions fault, and
// others do not.
bool request_amx_bf16() {
  if (has_tiles()) return false;
  struct sigaction action = {};
  action.sa_sigaction = emulate;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  return sigaction(SIGILL, &action, nullptr) == 0;
}

}  // namespace pagoda::cpu
