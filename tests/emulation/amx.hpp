// AMX on a machine that has AVX-512 only: read before a test (-include), this makes cpu_isa() say amx and carries out,
// upon the signal of an unknown instruction, what such a processor would do. So the tile kernels are tested as they are
// compiled, if slowly. Where the processor has tiles it carries nothing out.
//
// Semantics and encodings: Intel, "Software Developer's Manual", volume 2, and "Architecture Instruction Set Extensions
// Programming Reference" (TDPBF16PS, VCVTNE2PS2BF16, VCVTNEPS2BF16). Known are the forms that mien uses.
#pragma once

#define cpu_isa cpu_isa_of_this_machine
#include "mien/core/cpu.hpp"
#undef cpu_isa

#include <signal.h>
#include <sys/ucontext.h>

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace emulation {

struct Tiles {
  bool configured = false;
  alignas(64) std::uint8_t bytes[8][16][64] = {};
};
inline thread_local Tiles tiles;
/// Written by the handler, so that a test can tell that something was carried out.
inline volatile long carried_out = 0;

/// One component of the state that the system saves for a signal (SDM volume 1, 13.4 and 13.5): its place in the
/// standard format, all zero where the state is in its initial configuration.
class SavedState {
 public:
  explicit SavedState(ucontext_t& context)
      : at_(reinterpret_cast<std::uint8_t*>(context.uc_mcontext.fpregs)), present_(at_ + 512) {}

  bool complete() const {
    std::uint32_t magic;
    std::memcpy(&magic, at_ + 464, sizeof(magic));
    return magic == 0x46505853;
  }
  /// The part `part` of 16 bytes of a ZMM register.
  std::uint8_t* zmm(unsigned number, unsigned part) {
    if (number >= 16) return component(7, 1024) + 64 * (number - 16) + 16 * part;
    if (part == 0) return component(1, 256) + 16 * number;
    if (part == 1) return component(2, 256) + 16 * number;
    return component(6, 512) + 32 * number + 16 * (part - 2);
  }

 private:
  std::uint8_t* component(unsigned number, std::size_t size) {
    std::size_t offset = 160;
    if (number > 1) offset = mien::detail::cpuid(13, number).b;
    std::uint64_t present;
    std::memcpy(&present, present_, sizeof(present));
    if ((present >> number & 1U) == 0) {
      std::memset(at_ + offset, 0, size);
      present |= std::uint64_t{1} << number;
      std::memcpy(present_, &present, sizeof(present));
    }
    return at_ + offset;
  }

  std::uint8_t *at_, *present_;
};

struct Zmm {
  std::uint8_t bytes[64];
};
inline Zmm read_zmm(SavedState& state, unsigned number) {
  Zmm value;
  for (unsigned part = 0; part < 4; ++part) std::memcpy(value.bytes + 16 * part, state.zmm(number, part), 16);
  return value;
}
inline void write_zmm(SavedState& state, unsigned number, const Zmm& value) {
  for (unsigned part = 0; part < 4; ++part) std::memcpy(state.zmm(number, part), value.bytes + 16 * part, 16);
}

/// Bytes of an instruction behind its opcode: registers or a place in memory.
struct Operands {
  unsigned mod, reg, rm;
  std::uint64_t base = 0, index = 0;  // base with the displacement; the index is scaled
  const std::uint8_t* end;

  std::uint8_t* memory() const { return reinterpret_cast<std::uint8_t*>(base + index); }
};

/// `high_*`: the bits that the prefix adds to the numbers of registers; `scale8`: what a displacement of one byte
/// counts.
inline Operands read_operands(const std::uint8_t* at, const greg_t* registers, unsigned high_reg, unsigned high_index,
                              unsigned high_base, int scale8) {
  static constexpr int places[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                     REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  const auto value = [&](unsigned number) { return static_cast<std::uint64_t>(registers[places[number]]); };
  Operands o{};
  const unsigned modrm = *at++;
  o.mod = modrm >> 6;
  o.reg = (modrm >> 3 & 7U) | high_reg << 3;
  o.rm = (modrm & 7U) | high_base << 3;
  o.end = at;
  if (o.mod == 3) return o;
  bool from_end = false;
  unsigned displacement = o.mod == 1 ? 1 : o.mod == 2 ? 4 : 0;
  if ((modrm & 7U) == 4) {
    const unsigned sib = *at++;
    const unsigned index = (sib >> 3 & 7U) | high_index << 3, base = (sib & 7U) | high_base << 3;
    if (index != 4) o.index = value(index) << (sib >> 6);
    if ((sib & 7U) == 5 && o.mod == 0)
      displacement = 4;
    else
      o.base = value(base);
  } else if ((modrm & 7U) == 5 && o.mod == 0) {
    displacement = 4;
    from_end = true;
  } else {
    o.base = value(o.rm);
  }
  if (displacement == 1) {
    o.base += static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::int8_t>(*at)) * scale8);
  } else if (displacement == 4) {
    std::int32_t distance;
    std::memcpy(&distance, at, sizeof(distance));
    o.base += static_cast<std::uint64_t>(static_cast<std::int64_t>(distance));
  }
  o.end = at + displacement;
  if (from_end) o.base += reinterpret_cast<std::uint64_t>(o.end);
  return o;
}

/// To nearest even; subnormal values become zeros, NaNs quiet.
inline std::uint16_t to_bfloat16(std::uint32_t bits) {
  const std::uint32_t size = bits & 0x7fffffffU;
  if (size > 0x7f800000U) return static_cast<std::uint16_t>(bits >> 16 | 0x40U);
  if (size < 0x00800000U) return static_cast<std::uint16_t>(bits >> 16 & 0x8000U);
  return static_cast<std::uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
}
inline void to_bfloat16(const std::uint8_t* from, std::uint8_t* to) {
  for (int i = 0; i < 16; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, from + 4 * i, sizeof(bits));
    const std::uint16_t rounded = to_bfloat16(bits);
    std::memcpy(to + 2 * i, &rounded, sizeof(rounded));
  }
}

/// sum (16 x 16 floats) += left (16 rows of 16 pairs) times right (16 rows of 16 pairs): sums of the first and of the
/// second of all pairs, and then those of both.
__attribute__((target("avx512f"), noinline)) inline void multiply(const std::uint8_t (*left)[64],
                                                                  const std::uint8_t (*right)[64],
                                                                  std::uint8_t (*sum)[64]) {
  using Floats __attribute__((vector_size(64), may_alias)) = float;
  using Bits __attribute__((vector_size(64), may_alias)) = std::uint32_t;
  for (int m = 0; m < 16; ++m) {
    Floats first{}, second{};
    for (int k = 0; k < 16; ++k) {
      std::uint32_t pair;
      std::memcpy(&pair, left[m] + 4 * k, sizeof(pair));
      const auto& columns = *reinterpret_cast<const Bits*>(right[k]);
      first += reinterpret_cast<Floats>(columns << 16) * std::bit_cast<float>(pair << 16);
      second += reinterpret_cast<Floats>(columns & 0xffff0000U) * std::bit_cast<float>(pair & 0xffff0000U);
    }
    *reinterpret_cast<Floats*>(sum[m]) += first + second;
  }
}

/// C4: VEX in three bytes. Null for what is not known.
inline const std::uint8_t* tile_instruction(const std::uint8_t* at, const greg_t* registers) {
  const unsigned inverted = ~static_cast<unsigned>(at[1]), wvlpp = at[2], opcode = at[3];
  if ((at[1] & 0x1fU) != 2 || (wvlpp & 0x84U) != 0) return nullptr;  // 0F38, W0, 128
  const unsigned prefix = wvlpp & 3U, extra = ~(wvlpp >> 3) & 15U;   // 0 none, 1 66, 2 F3, 3 F2
  const Operands o = read_operands(at + 4, registers, inverted >> 7 & 1U, inverted >> 6 & 1U, inverted >> 5 & 1U, 1);
  if (opcode == 0x49 && prefix == 0 && o.mod != 3) {  // LDTILECFG
    const std::uint8_t* configuration = o.memory();
    bool whole = configuration[0] == 1 && configuration[1] == 0;
    for (int tile = 0; tile < 8; ++tile) {
      std::uint16_t row_bytes;
      std::memcpy(&row_bytes, configuration + 16 + 2 * tile, sizeof(row_bytes));
      whole = whole && row_bytes == 64 && configuration[48 + tile] == 16;
    }
    if (!whole) return nullptr;
    tiles = Tiles{};
    tiles.configured = true;
    return o.end;
  }
  if (opcode == 0x49 && prefix == 0 && o.mod == 3 && o.reg == 0 && o.rm == 0) {  // TILERELEASE
    tiles.configured = false;
    return o.end;
  }
  if (!tiles.configured || o.reg > 7) return nullptr;
  if (opcode == 0x49 && prefix == 3 && o.mod == 3) {  // TILEZERO
    std::memset(tiles.bytes[o.reg], 0, sizeof(tiles.bytes[o.reg]));
    return o.end;
  }
  if (opcode == 0x4b && o.mod != 3 && (prefix == 3 || prefix == 2)) {  // TILELOADD, TILESTORED
    auto* row = reinterpret_cast<std::uint8_t*>(o.base);
    for (int r = 0; r < 16; ++r, row += o.index) {
      if (prefix == 3)
        std::memcpy(tiles.bytes[o.reg][r], row, 64);
      else
        std::memcpy(row, tiles.bytes[o.reg][r], 64);
    }
    return o.end;
  }
  if (opcode == 0x5c && prefix == 2 && o.mod == 3 && o.rm < 8 && extra < 8) {  // TDPBF16PS
    if (o.reg == o.rm || o.reg == extra || o.rm == extra) return nullptr;
    multiply(tiles.bytes[o.rm], tiles.bytes[extra], tiles.bytes[o.reg]);
    return o.end;
  }
  return nullptr;
}

/// 62: EVEX. Null for what is not known.
inline const std::uint8_t* rounding_instruction(const std::uint8_t* at, const greg_t* registers, SavedState& state) {
  const unsigned inverted = ~static_cast<unsigned>(at[1]), p1 = at[2], p2 = at[3], prefix = p1 & 3U;
  // Map 0F38, W0, opcode 72, 512 bits, no mask, no broadcast.
  if ((at[1] & 0x0fU) != 2 || (p1 & 0x84U) != 4 || at[4] != 0x72 || (p2 & 0xf7U) != 0x40) return nullptr;
  const unsigned high_index = inverted >> 6 & 1U, high_base = inverted >> 5 & 1U;
  const Operands o = read_operands(at + 5, registers, inverted >> 7 & 1U, high_index, high_base, 64);
  const unsigned to = o.reg | (inverted >> 4 & 1U) << 4;
  const unsigned other = (~(p1 >> 3) & 15U) | (~(p2 >> 3) & 1U) << 4;
  Zmm from, result{};
  if (o.mod == 3)
    from = read_zmm(state, o.rm | high_index << 4);
  else
    std::memcpy(from.bytes, o.memory(), sizeof(from.bytes));
  to_bfloat16(from.bytes, result.bytes);
  if (prefix == 3)  // VCVTNE2PS2BF16
    to_bfloat16(read_zmm(state, other).bytes, result.bytes + 32);
  else if (prefix != 2)  // VCVTNEPS2BF16
    return nullptr;
  write_zmm(state, to, result);
  return o.end;
}

inline void carry_out(int signal, siginfo_t*, void* given) {
  auto& context = *static_cast<ucontext_t*>(given);
  greg_t* registers = context.uc_mcontext.gregs;
  const auto* at = reinterpret_cast<const std::uint8_t*>(registers[REG_RIP]);
  SavedState state(context);
  __builtin_ia32_ldmxcsr(
      0x9fc0);  // as the products have it: to nearest, subnormal operands and results zero, no exceptions
  const std::uint8_t* next = nullptr;
  if (at[0] == 0xc4) next = tile_instruction(at, registers);
  if (at[0] == 0x62 && state.complete()) next = rounding_instruction(at, registers, state);
  if (next == nullptr) {
    ::signal(signal, SIG_DFL);  // the instruction runs again, and ends the program
    return;
  }
  carried_out = carried_out + 1;
  registers[REG_RIP] = reinterpret_cast<greg_t>(next);
}

/// Only from AVX-512 without tiles, and only without a lower cap.
inline mien::Isa found() {
  const mien::Isa isa = mien::cpu_isa_of_this_machine();
  const char* cap = std::getenv("MIEN_ISA");
  const bool capped = cap != nullptr && *cap != '\0' && std::string_view(cap) != "amx";
  if (isa < mien::Isa::avx512 || isa == mien::Isa::amx || capped) return isa;
  struct sigaction action {};
  action.sa_sigaction = carry_out;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGILL, &action, nullptr);
  return mien::Isa::amx;
}

}  // namespace emulation

namespace mien {

inline Isa cpu_isa() {
  static const Isa isa = emulation::found();
  return isa;
}

}  // namespace mien
