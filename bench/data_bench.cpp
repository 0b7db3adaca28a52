// How fast data comes in: FER2013 as CSV text (bytes per second), one thread.
#include <benchmark/benchmark.h>

#include <string>

#include "mien/core/random.hpp"
#include "mien/data/csv.hpp"

namespace {

using namespace mien;

/// Rows as fer2013.csv has them: 2,304 numbers of one to three digits each.
std::string csv_text(index_t rows) {
  std::string text = "emotion,pixels,Usage\n";
  const Random random(1, Stream::user);
  for (index_t row = 0; row < rows; ++row) {
    text += std::to_string(row % 7) + ",";
    for (index_t i = 0; i < 2304; ++i) {
      if (i > 0) text += ' ';
      text += std::to_string(random.below(static_cast<std::uint64_t>(row * 2304 + i), 256));
    }
    text += ",Training\n";
  }
  return text;
}

void read_csv(benchmark::State& state) {
  const std::string text = csv_text(2000);
  for (auto _ : state) {
    index_t sum = 0;
    read_fer_csv(
        text, "generated.csv", 2304,
        [&](int emotion, std::string_view, std::span<const std::uint8_t> pixels, index_t) {
          sum += emotion + pixels[0];
        },
        [&](index_t, index_t, const std::string& reason) { state.SkipWithError(reason.c_str()); });
    benchmark::DoNotOptimize(sum);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}
BENCHMARK(read_csv)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
