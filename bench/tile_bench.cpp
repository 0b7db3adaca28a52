// What binds a loop of AMX tile products: products alone, loads alone (first cache), and both in the two by two
// blocking. Where `both` takes the sum of the two others, loads and products do not overlap. Then the products of a
// convolution with 32 channels and outputs as the kernels make them, on images in the second cache: without storing the
// results, streaming those of 64 pixels at once, and streaming a few among the products of the next ones.
#include <benchmark/benchmark.h>

#include "mien/core/cpu.hpp"
#include "mien/core/tensor.hpp"
#include "mien/kernels/amx/tile_line.hpp"

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
  const TileScope scope(Products::tiles);
  alignas(64) static bfloat16 operands[4 * tile_values];
  for (auto _ : state) loop<load, multiply>(operands);
  const double done = static_cast<double>(state.iterations()) * steps;
  if (multiply) state.counters["FLOP/s"] = benchmark::Counter(done * 4 * 16384, benchmark::Counter::kIsRate);
  if (load) state.counters["loads/s"] = benchmark::Counter(done * 4, benchmark::Counter::kIsRate);
}
BENCHMARK_TEMPLATE(tiles, false, true)->Name("products");
BENCHMARK_TEMPLATE(tiles, true, false)->Name("loads");
BENCHMARK_TEMPLATE(tiles, true, true)->Name("both");

enum class Results { none, at_once, late };

template <Results results>
void line(benchmark::State& state) {
  if (cpu_isa() < Isa::amx) {
    state.SkipWithError("this machine has no amx");
    return;
  }
  const TileScope scope(Products::tiles);
  constexpr index_t images = 16, width = 24, channels = 32, image = width * width * channels;
  const Tensor<bfloat16> pixels(Shape{images + 1, width, width, channels}), weights(Shape{9, 2, tile_values});
  Tensor<bfloat16> out(Shape{images + 1, width, width, channels});
  TileLine line;
  line.rows = {2 * channels, 32};
  line.position = width * channels;
  line.first = 0;
  line.last = 6;
  line.steps = 1;
  line.step = 2 * tile_values;
  line.tap = 3 * line.step;
  TileSegment segments[3];
  for (index_t s = 0; s < 3; ++s) segments[s] = {s * channels, s * line.step, 1};
  RowStores how;
  how.pitch = channels;
  how.stream = reinterpret_cast<std::uintptr_t>(out.data()) % 64 == 0;
  EarlyCopies none;
  index_t products = 0;
  for (auto _ : state) {
    LateStores stores(how);
    for (index_t n = 0; n < images; ++n)
      for (index_t i = 0; i < 20; i += 4, products += 72) {
        const index_t at = n * image + i * width * channels;
        if (results == Results::late) stores.begin(12);
        for (index_t k = 0; k < 2; ++k)
          tile_line<4>(pixels.data() + at, weights.data() + k * tile_values, line, segments, 3, k * 16, stores, none);
        stores.turn();
        for (index_t p = 0; results != Results::none && p < 4; ++p)
          stores.add(p * 16, 16, out.data() + at + p * width * channels);
      }
    stores.finish();
    stream_end();
  }
  state.counters["FLOP/s"] = benchmark::Counter(static_cast<double>(products) * 16384, benchmark::Counter::kIsRate);
}
BENCHMARK_TEMPLATE(line, Results::none)->Name("line, no results");
BENCHMARK_TEMPLATE(line, Results::at_once)->Name("line, results at once");
BENCHMARK_TEMPLATE(line, Results::late)->Name("line, results late");

}  // namespace

#endif

BENCHMARK_MAIN();
