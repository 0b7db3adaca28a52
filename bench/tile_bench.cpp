// What binds a loop of AMX tile products: products alone, loads alone (first cache), and both in the two by two
// blocking that the kernels use. Where `both` takes the sum of the two others, loads and products do not overlap.
#include <benchmark/benchmark.h>

#include "mien/core/cpu.hpp"
#include "mien/kernels/amx/tiles.hpp"

#if MIEN_HAS_X86_KERNELS

namespace {

using namespace mien;
using namespace mien::kernels::detail::amx;

constexpr int steps = 1000;

template <bool load, bool multiply>
MIEN_AMX void loop(const bfloat16* operands) {
  const index_t row = 64;
  for (int i = 0; i < steps; ++i) {
    if constexpr (load) {
      __asm__ volatile(
          "tileloadd (%0,%1,1), %%tmm4\n\ttileloadd 1024(%0,%1,1), %%tmm5\n\t"
          "tileloadd 2048(%0,%1,1), %%tmm6\n\ttileloadd 3072(%0,%1,1), %%tmm7"
          :
          : "r"(operands), "r"(row)
          : "memory");
    }
    if constexpr (multiply) {
      __asm__ volatile(
          "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\ttdpbf16ps %%tmm7, %%tmm4, %%tmm1\n\t"
          "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n\ttdpbf16ps %%tmm7, %%tmm5, %%tmm3"
          :
          :
          : "memory");
    }
  }
}

template <bool load, bool multiply>
void tiles(benchmark::State& state) {
  if (cpu_isa() < Isa::amx) {
    state.SkipWithError("this machine has no amx");
    return;
  }
  const TileScope scope;
  alignas(64) static bfloat16 operands[4 * tile_values];
  for (auto _ : state) loop<load, multiply>(operands);
  const double done = static_cast<double>(state.iterations()) * steps;
  if (multiply) state.counters["FLOP/s"] = benchmark::Counter(done * 4 * 16384, benchmark::Counter::kIsRate);
  if (load) state.counters["loads/s"] = benchmark::Counter(done * 4, benchmark::Counter::kIsRate);
}
BENCHMARK_TEMPLATE(tiles, false, true)->Name("products");
BENCHMARK_TEMPLATE(tiles, true, false)->Name("loads");
BENCHMARK_TEMPLATE(tiles, true, true)->Name("both");

}  // namespace

#endif

BENCHMARK_MAIN();
