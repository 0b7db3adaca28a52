// The parts of the cascade evaluator against slow, obvious versions.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "cascade/detector.hpp"
#include "cascade/kernels.hpp"
#include "cascade_cases.hpp"

using namespace mien::cascade;
using cascade_cases::Draw;
using mien::ArgumentError;
using mien::cpu_isa;
using mien::Isa;

namespace {

std::vector<detail::RowKernels> row_kernels() {
  std::vector<detail::RowKernels> kernels{detail::RowKernels{}};
#if MIEN_HAS_X86_KERNELS
  if (cpu_isa() >= Isa::avx2) kernels.push_back(detail::avx2::row_kernels());
  if (cpu_isa() >= Isa::avx512) kernels.push_back(detail::avx512::row_kernels());
#endif
  return kernels;
}

std::vector<std::uint8_t> bytes(Draw& draw, int count) {
  std::vector<std::uint8_t> out(static_cast<std::size_t>(count));
  for (std::uint8_t& value : out) value = static_cast<std::uint8_t>(draw.whole(0, 255));
  return out;
}

}  // namespace

TEST_CASE("rounding is to even") {
  CHECK(detail::round_even(0.5) == 0);
  CHECK(detail::round_even(1.5) == 2);
  CHECK(detail::round_even(2.5) == 2);
  CHECK(detail::round_even(-0.5) == 0);
  CHECK(detail::round_even(-1.5) == -2);
  CHECK(detail::round_even(2.4999) == 2);
  CHECK(detail::round_even(1e300) == 2147483647);
  CHECK(detail::round_even(-1e300) == -2147483647 - 1);
}

TEST_CASE("rows are scaled by the formula of INTER_LINEAR_EXACT") {
  Draw draw(1);
  for (int round = 0; round < 300; ++round) {
    const int n = draw.whole(1, 200), m = draw.whole(1, 200);
    std::vector<detail::Tap> taps(static_cast<std::size_t>(m));
    detail::make_taps(n, m, taps.data());
    const std::vector<std::uint8_t> above = bytes(draw, n), below = bytes(draw, n);
    const detail::Tap vertical{0, draw.whole(0, 3) == 0 ? 0 : draw.whole(1, 256)};
    std::vector<std::uint8_t> expected(static_cast<std::size_t>(m));
    for (int x = 0; x < m; ++x) {
      // In exact arithmetic but for the scale, which has two roundings.
      const double scale = 1.0 / (static_cast<double>(m) / n);
      volatile double product = scale * (x + 0.5);
      const double centre = product - 0.5;
      const int i = static_cast<int>(std::floor(centre));
      int first = i, second = i + 1;
      int weight = static_cast<int>(std::nearbyint((centre - i) * 256));
      if (i < 0) first = second = 0, weight = 0;
      if (i >= n - 1) first = second = n - 1, weight = 0;
      const auto across = [&](const std::vector<std::uint8_t>& row) {
        return row[static_cast<std::size_t>(first)] * (256 - weight) + row[static_cast<std::size_t>(second)] * weight;
      };
      const std::vector<std::uint8_t>& lower = vertical.weight == 0 ? above : below;
      const int sum = across(above) * (256 - vertical.weight) + across(lower) * vertical.weight;
      expected[static_cast<std::size_t>(x)] = static_cast<std::uint8_t>((sum + 32768) / 65536);
    }
    for (const detail::RowKernels& kernels : row_kernels()) {
      std::vector<std::uint8_t> out(static_cast<std::size_t>(m) + 1, 77);
      kernels.resize(above.data(), below.data(), vertical, taps.data(), n, m, out.data());
      CHECK(std::equal(expected.begin(), expected.end(), out.begin()));
      CHECK(out.back() == 77);
    }
  }
}

TEST_CASE("integral images are sums over rectangles and triangles") {
  Draw draw(2);
  for (const detail::RowKernels& kernels : row_kernels()) {
    for (const int width : {1, 2, 7, 8, 9, 16, 17, 31, 40, 65}) {
      const int height = 12;
      const auto w = static_cast<std::size_t>(width);
      const std::vector<std::uint8_t> image = bytes(draw, width * height);
      const std::vector<std::uint8_t> blank(w + 64, 0);
      std::vector<std::vector<std::uint32_t>> sums(height + 2, std::vector<std::uint32_t>(w + 80));
      auto squares = sums, tilted = sums;
      for (std::size_t y = 0; y < height; ++y) {
        const std::uint8_t* row = image.data() + y * w;
        kernels.integral(row, width, sums[y].data(), sums[y + 1].data());
        kernels.squares(row, width, squares[y].data(), squares[y + 1].data());
        // Row 0 of `tilted` stands for the two rows of zeros above.
        kernels.tilted(row, y > 0 ? row - w : blank.data(), width, tilted[y].data(),
                       y > 0 ? tilted[y - 1].data() : tilted[0].data(), tilted[y + 1].data());
      }
      bool equal = true;
      for (int Y = 0; Y <= height; ++Y) {
        for (int X = 0; X <= width; ++X) {
          std::uint32_t sum = 0, square = 0, triangle = 0;
          for (int y = 0; y < Y; ++y) {
            for (int x = 0; x < width; ++x) {
              const std::uint32_t value = image[static_cast<std::size_t>(y * width + x)];
              if (x < X) sum += value, square += value * value;
              if (std::abs(x - X + 1) <= Y - y - 1) triangle += value;
            }
          }
          const auto row = static_cast<std::size_t>(Y), column = static_cast<std::size_t>(X);
          equal =
              equal && sums[row][column] == sum && squares[row][column] == square && tilted[row][column] == triangle;
        }
      }
      CHECK(equal);
      std::vector<std::uint32_t> split(2 * (w + 80));
      kernels.split(sums[5].data(), width + 1, width + 40, split.data());
      for (std::size_t x = 0; x <= w; ++x) CHECK(split[x % 2 * (w + 40) + x / 2] == sums[5][x]);
    }
  }
}

TEST_CASE("scales end where OpenCV's do") {
  std::vector<float> scales;
  const auto find = [&](Size image, double factor, Size smallest, Size largest) {
    detail::find_scales({24, 24}, image, factor, smallest, largest, scales);
    return scales.size();
  };
  CHECK(find({23, 100}, 1.1, {}, {}) == 0);
  CHECK(find({24, 24}, 1.1, {}, {}) == 1);
  CHECK(find({48, 48}, 2.0, {}, {}) == 2);
  CHECK(find({47, 48}, 2.0, {}, {}) == 1);
  CHECK(find({480, 480}, 1.1, {48, 48}, {}) == 24);
  // Nothing fits: the scale nearest to the smallest size is searched.
  CHECK(find({480, 480}, 2.0, {100, 100}, {90, 90}) == 1);
  CHECK(scales[0] == 4.0F);
  CHECK(find({480, 480}, 1.1, {1000, 1000}, {}) == 1);
  CHECK_THROWS_AS(find({32767, 32767}, 1.0 + 1e-9, {}, {}), ArgumentError);
}

TEST_CASE("the scan skips the right neighbour of every window that stage 0 rejects") {
  // The bit trick of the vector code against the loop that it stands for.
  const auto slow = [](std::uint32_t rejected, int lanes, std::uint32_t& carry) {
    std::uint32_t skipped = 0;
    for (int i = 0; i < lanes; ++i) {
      if (carry != 0) {
        skipped |= 1U << i;
        carry = 0;
      } else {
        carry = rejected >> i & 1U;
      }
    }
    return skipped;
  };
#if MIEN_HAS_X86_KERNELS
  const auto check = [&](int lanes, std::uint32_t (*skipped)(std::uint32_t, std::uint32_t&), std::uint32_t rejected) {
    for (const std::uint32_t first : {0U, 1U}) {
      std::uint32_t carry = first, expected_carry = first;
      const std::uint32_t expected = slow(rejected, lanes, expected_carry);
      if (skipped(rejected, carry) != expected || carry != expected_carry) {
        FAIL_CHECK(lanes, " windows, rejected ", rejected);
      }
    }
  };
  Draw draw(3);
  for (std::uint32_t rejected = 0; rejected < 65536; ++rejected) {
    if (cpu_isa() >= Isa::avx512) {
      using One = detail::avx512::One;
      using Two = detail::avx512::Two<One>;
      check(16, &detail::avx512::skipped<One>, rejected);
      // Not all of them; rows of many bits and of few.
      const auto mixed = static_cast<std::uint32_t>(draw.bits());
      check(32, &detail::avx512::skipped<Two>, rejected << 16 | (mixed & 0xFFFFU));
      check(32, &detail::avx512::skipped<Two>, mixed | static_cast<std::uint32_t>(draw.bits()));
    }
    if (cpu_isa() >= Isa::avx2) {
      using One = detail::avx2::One;
      using Two = detail::avx2::Two<One>;
      if (rejected < 256) check(8, &detail::avx2::skipped<One>, rejected);
      check(16, &detail::avx2::skipped<Two>, rejected);
    }
  }
#endif
  std::uint32_t carry = 0;
  CHECK(slow(0b0111, 4, carry) == 0b1010);
}

namespace {

bool similar(const Rect& a, const Rect& b) {
  const double limit = 0.2 * (std::min(a.width, b.width) + std::min(a.height, b.height)) * 0.5;
  return std::abs(a.x - b.x) <= limit && std::abs(a.y - b.y) <= limit &&
         std::abs(a.x + a.width - b.x - b.width) <= limit && std::abs(a.y + a.height - b.y - b.height) <= limit;
}

/// Grouping by comparing every pair.
std::vector<Detection> slow_groups(const std::vector<Detection>& found, int min_neighbors) {
  std::vector<std::size_t> group(found.size());
  std::size_t groups = 0;
  std::vector<bool> seen(found.size(), false);
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (seen[i]) continue;
    std::vector<std::size_t> stack{i};
    seen[i] = true;
    while (!stack.empty()) {
      const std::size_t at = stack.back();
      stack.pop_back();
      group[at] = groups;
      for (std::size_t j = 0; j < found.size(); ++j) {
        if (!seen[j] && similar(found[at].box, found[j].box)) seen[j] = true, stack.push_back(j);
      }
    }
    ++groups;
  }
  std::vector<Detection> means(groups);
  for (std::size_t g = 0; g < groups; ++g) {
    int n = 0, x = 0, y = 0, w = 0, h = 0;
    double weight = -1e300;
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (group[i] != g) continue;
      ++n;
      x += found[i].box.x, y += found[i].box.y, w += found[i].box.width, h += found[i].box.height;
      weight = std::max(weight, found[i].weight);
    }
    const float inverse = 1.0F / static_cast<float>(n);
    const auto mean = [&](int sum) {
      volatile float product = static_cast<float>(sum) * inverse;
      return static_cast<int>(std::nearbyint(product));
    };
    means[g] = {{mean(x), mean(y), mean(w), mean(h)}, n, 7, weight};
  }
  std::vector<Detection> out;
  for (std::size_t i = 0; i < groups; ++i) {
    if (means[i].neighbors <= min_neighbors) continue;
    bool inside = false;
    for (std::size_t j = 0; j < groups; ++j) {
      if (i == j || means[j].neighbors <= min_neighbors) continue;
      const Rect &a = means[i].box, &b = means[j].box;
      const int dx = static_cast<int>(std::nearbyint(b.width * 0.2)),
                dy = static_cast<int>(std::nearbyint(b.height * 0.2));
      if (a.x >= b.x - dx && a.y >= b.y - dy && a.x + a.width <= b.x + b.width + dx &&
          a.y + a.height <= b.y + b.height + dy &&
          (means[j].neighbors > std::max(3, means[i].neighbors) || means[i].neighbors < 3)) {
        inside = true;
      }
    }
    if (!inside) out.push_back(means[i]);
  }
  return out;
}

}  // namespace

TEST_CASE("groups are those of comparing every pair") {
  Draw draw(3);
  detail::Grouper grouper;
  long total = 0;
  for (int round = 0; round < 400; ++round) {
    const int window_width = draw.whole(4, 30), window_height = draw.whole(4, 30);
    const double factor = draw.real(1.02, 1.6);
    const int range = draw.whole(10, 500), runs = draw.whole(1, 12), per_run = draw.whole(1, 40);
    std::vector<Detection> found;
    double scale = 1.0;
    for (int r = 0; r < runs; ++r, scale *= factor) {
      const int w = static_cast<int>(window_width * scale), h = static_cast<int>(window_height * scale);
      for (int i = 0; i < per_run; ++i) {
        found.push_back({{draw.whole(0, range), draw.whole(0, range), w, h}, 1, 7, draw.real(-1, 1)});
      }
    }
    for (const int min_neighbors : {1, 2, 3}) {
      std::vector<Detection> ours = found;
      grouper.group(ours, min_neighbors);
      const std::vector<Detection> expected = slow_groups(found, min_neighbors);
      total += static_cast<long>(expected.size());
      CHECK(cascade_cases::digest(ours) == cascade_cases::digest(expected));
    }
  }
  CHECK(total > 1000);
}

TEST_CASE("grouping many candidates is fast") {
  // 200,000 candidates, all alike: comparing pairs would take minutes.
  std::vector<Detection> found;
  for (int i = 0; i < 200000; ++i) found.push_back({{i % 500, i / 500, 40, 40}, 1, 1, 0.0});
  detail::Grouper grouper;
  grouper.group(found, 3);
  REQUIRE(found.size() == 1);
  CHECK(found[0].neighbors == 200000);
  CHECK(found[0].box == Rect{250, 200, 40, 40});
}

TEST_CASE("colour becomes gray as in OpenCV") {
  const std::uint8_t rgb[] = {255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30, 255, 255, 255};
  std::uint8_t gray[5];
  to_gray({rgb, 5, 1, 15, PixelFormat::rgb}, gray, 5);
  CHECK(gray[0] == 76);
  CHECK(gray[1] == 150);
  CHECK(gray[2] == 29);
  CHECK(gray[3] == (10 * 9798 + 20 * 19235 + 30 * 3735 + 16384) / 32768);
  CHECK(gray[4] == 255);
  const std::uint8_t bgra[] = {1, 2, 3, 99, 200, 100, 50, 0};
  to_gray({bgra, 2, 1, 8, PixelFormat::bgra}, gray, 2);
  CHECK(gray[0] == (3 * 9798 + 2 * 19235 + 1 * 3735 + 16384) / 32768);
  CHECK(gray[1] == (50 * 9798 + 100 * 19235 + 200 * 3735 + 16384) / 32768);
}
