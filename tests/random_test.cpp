#include "mien/core/random.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "mien/kernels/random_bits.hpp"

using namespace mien;

TEST_CASE("philox: the known answers of Random123") {
  // philox4x32-10 of kat_vectors in Random123 (Salmon et al.).
  using Words = std::array<std::uint32_t, 4>;
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const std::uint32_t f = 0xffffffff;
  CHECK(philox({f, f, f, f}, {f, f}) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random: a value depends on seed, stream, step and index, and on each of them") {
  const Random a(1, Stream::user, 2), b(1, Stream::user, 2);
  CHECK(a.bits(1000) == b.bits(1000));
  CHECK(a.bits(3) == a.block(0)[3]);
  CHECK(a.bits(4) == a.block(1)[0]);
  std::set<std::uint32_t> seen;
  const std::uint64_t big = std::uint64_t{1} << 32;
  int count = 0;
  for (std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, big})
    for (Stream stream : {Stream::initialize, Stream::user, Stream::layers})
      for (std::uint64_t step : {std::uint64_t{0}, std::uint64_t{1}, big})
        for (std::uint64_t index : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{7}, big, 2 * big, 3 * big}) {
          seen.insert(Random(seed, stream, step).bits(index));
          ++count;
        }
  CHECK(count == 162);
  CHECK(seen.size() == 162);
}

TEST_CASE("random: moments and range of the uniform") {
  const Random random(11, Stream::user);
  const int n = 200000;
  double sum = 0, square = 0, neighbours = 0;
  float least = 1, most = 0, before = 0;
  std::vector<int> bins(16);
  for (int i = 0; i < n; ++i) {
    const float u = random.uniform(static_cast<std::uint64_t>(i));
    sum += u;
    square += u * u;
    neighbours += (u - 0.5) * (before - 0.5);
    before = u;
    least = std::min(least, u);
    most = std::max(most, u);
    ++bins[static_cast<std::size_t>(u * 16)];
  }
  CHECK(least >= 0);
  CHECK(most < 1);
  // Five standard errors.
  CHECK(std::abs(sum / n - 0.5) < 5 * std::sqrt(1.0 / 12 / n));
  CHECK(std::abs(square / n - 1.0 / 3) < 5 * std::sqrt(4.0 / 45 / n));
  CHECK(std::abs(neighbours / n) < 5 * (1.0 / 12) / std::sqrt(n));
  double chi = 0;
  for (int bin : bins) chi += (bin - n / 16.0) * (bin - n / 16.0) / (n / 16.0);
  CHECK(chi < 45);  // 15 degrees of freedom: exceeded once in 10,000
  CHECK(Random::to_unit(0) == 0);
  CHECK(Random::to_unit(0xffffffff) < 1);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    CHECK(random.uniform(i, -3, -2) >= -3);
    CHECK(random.uniform(i, -3, -2) <= -2);
  }
}

TEST_CASE("random: moments of the normal") {
  const Random random(12, Stream::user);
  const int n = 200000;
  double sums[5] = {}, pairs = 0;
  for (int i = 0; i < n; ++i) {
    const double z = static_cast<double>(random.normal(static_cast<std::uint64_t>(i)));
    CHECK_MESSAGE(std::abs(z) <= 5.8, i);
    for (int k = 1; k <= 4; ++k) sums[k] += std::pow(z, k);
    if (i % 2) pairs += z * static_cast<double>(random.normal(static_cast<std::uint64_t>(i - 1)));
  }
  // Standard errors of the moments of a standard normal: 1, sqrt 2, sqrt 15, sqrt 96, over sqrt n.
  CHECK(std::abs(sums[1] / n) < 5 / std::sqrt(n));
  CHECK(std::abs(sums[2] / n - 1) < 5 * std::sqrt(2.0 / n));
  CHECK(std::abs(sums[3] / n) < 5 * std::sqrt(15.0 / n));
  CHECK(std::abs(sums[4] / n - 3) < 5 * std::sqrt(96.0 / n));
  CHECK(std::abs(pairs / (n / 2.0)) < 5 / std::sqrt(n / 2.0));
}

TEST_CASE("random: below covers its range evenly") {
  const Random random(13, Stream::user);
  std::vector<int> counts(7);
  for (std::uint64_t i = 0; i < 70000; ++i) ++counts[random.below(i, 7)];
  for (int c : counts) CHECK(std::abs(c - 10000) < 5 * std::sqrt(10000.0 * 6 / 7));
  CHECK(random.below(5, 1) == 0);
}

TEST_CASE("random: permutations are permutations, and all of them occur") {
  for (std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{1000}}) {
    std::vector<std::uint32_t> order(n, 77);
    Random(5, Stream::shuffle, 3).permutation(std::span<std::uint32_t>(order));
    std::vector<std::uint32_t> again(n);
    Random(5, Stream::shuffle, 3).permutation(std::span<std::uint32_t>(again));
    CHECK(order == again);
    std::sort(order.begin(), order.end());
    bool all = true;
    for (std::size_t i = 0; i < n; ++i) all = all && order[i] == i;
    CHECK(all);
  }
  std::vector<int> counts(27);  // of permutations of three, as numbers in base 3
  for (std::uint64_t step = 0; step < 6000; ++step) {
    int order[3];
    Random(6, Stream::shuffle, step).permutation(std::span<int>(order));
    ++counts[static_cast<std::size_t>(order[0] * 9 + order[1] * 3 + order[2])];
  }
  int seen = 0;
  for (int c : counts) {
    if (c == 0) continue;
    ++seen;
    CHECK(std::abs(c - 1000) < 5 * std::sqrt(1000.0 * 5 / 6));
  }
  CHECK(seen == 6);
}

TEST_CASE("random: blocks side by side are the blocks one by one") {
  for (const std::uint64_t first : {std::uint64_t{0}, std::uint64_t{12345}, (std::uint64_t{1} << 32) - 5}) {
    const Random random(0x123456789abcdefULL, Stream::user, 77);
    std::vector<std::uint32_t> words(4 * kernels::philox_lanes);
    kernels::run_vectorized(0, 1,
                            [&](index_t, index_t) MIEN_INLINE { kernels::philox_blocks(random, first, words.data()); });
    for (std::size_t l = 0; l < static_cast<std::size_t>(kernels::philox_lanes); ++l) {
      const auto block = random.block(first + l);
      for (std::size_t k = 0; k < 4; ++k) CHECK(words[4 * l + k] == block[k]);
    }
  }
}
