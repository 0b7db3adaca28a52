// Fuzz target: read_fer_csv on any text, and on any rows behind each of the usual headers.
//
// Built where clang-16 is installed; a long run, as fuzz_model.cpp says, is
//   fuzz_csv -runs=2000000 -dict=tests/fuzz/csv.dict -rss_limit_mb=1024 -timeout=20 corpus tests/fuzz/seeds/csv
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "mien/data/csv.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Random text is hardly ever a header: behind the letters a to c it is taken for rows.
  std::string whole(reinterpret_cast<const char*>(data), size);
  if (!whole.empty() && whole[0] >= 'a' && whole[0] <= 'c') {
    constexpr const char* headers[] = {"emotion,pixels,Usage\n", "emotion, Usage, pixels\r\n", "pixels,emotion\n"};
    whole.replace(0, 1, headers[whole[0] - 'a']);
  }
  const std::span<const char> text(whole.data(), whole.size());
  size = whole.size();
  const auto lines = static_cast<mien::index_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  mien::index_t last = 1;
  const auto expect = [](bool holds) {
    if (!holds) std::abort();
  };
  const auto next = [&](mien::index_t line) {
    expect(line > last && line <= lines);
    last = line;
  };
  try {
    mien::read_fer_csv(
        text, "fuzz", 4,
        [&](int emotion, std::string_view usage, std::span<const std::uint8_t> pixels, mien::index_t line) {
          next(line);
          expect(emotion >= 0 && emotion < 7 && pixels.size() == 4);
          expect(usage.empty() || (usage.data() >= text.data() && usage.data() + usage.size() <= text.data() + size));
        },
        [&](mien::index_t line, mien::index_t column, const std::string& reason) {
          next(line);
          expect(column >= 1 && column <= static_cast<mien::index_t>(size) + 1 && !reason.empty() &&
                 reason.size() < 300);
        });
  } catch (const mien::FormatError& error) {
    expect(std::string_view(error.what()).rfind("fuzz:1:", 0) == 0);
  }
  return 0;
}
